// Finds and makes elements.

export const $ = (id) => document.getElementById(id);

export const el = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
