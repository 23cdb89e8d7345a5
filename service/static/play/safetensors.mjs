// Reads float32 tensors from a safetensors file: eight bytes of length, a JSON header, then the values.

// Returns {name: {shape, values: Float32Array}}; throws an Error that says what is wrong.
export function parseSafetensors(buffer) {
  if (buffer.byteLength < 8) throw new Error('the weights are no safetensors file: too short');
  const length = Number(new DataView(buffer).getBigUint64(0, true)), start = 8 + length;
  if (start > buffer.byteLength) throw new Error('the weights are no safetensors file: the header is cut off');
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  delete header.__metadata__;
  return Object.fromEntries(Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
    if (dtype !== 'F32') throw new Error(`the weights' ${name} is of type ${dtype}; only F32 is read`);
    const size = shape.reduce((product, side) => product * side, 1);
    if (to - from !== 4 * size || start + to > buffer.byteLength) throw new Error(`the weights' ${name} is cut off`);
    // A copy, because the header may end at any byte.
    return [name, { shape, values: new Float32Array(buffer.slice(start + from, start + to)) }];
  }));
}
