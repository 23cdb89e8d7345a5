// Finds and makes elements.

export const $ = (id) => document.getElementById(id);

// Writes a value, '' where it is null, in the place of one that may have been wrong.
export const fillField = (field, value) => Object.assign(field, { value: value ?? '', ariaInvalid: null });

export const el = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
