/** Emitted programs as their cost is computed from: ONNX nodes, constants and shapes, decoded from the protobuf. */
import onnxProto from 'onnx-proto';
import { DATA_TYPE, type Program, SEQUENCE_OUTPUT } from '../emit.js';

const { onnx } = onnxProto;
type TensorProto = onnxProto.onnx.ITensorProto;
type ValueInfoProto = onnxProto.onnx.IValueInfoProto;

/** Bytes of an element by ONNX data type. */
const WIDTH: Readonly<Record<number, number>> = {
  [DATA_TYPE.float32]: 4,
  [DATA_TYPE.uint8]: 1,
  [DATA_TYPE.int8]: 1,
  [DATA_TYPE.int32]: 4,
  [DATA_TYPE.int64]: 8,
  [DATA_TYPE.bool]: 1,
  [DATA_TYPE.float16]: 2,
  [DATA_TYPE.bfloat16]: 2,
};

/** Bytes of an element of an ONNX data type. */
export function elementBytes(type: number): number {
  const width = WIDTH[type];
  if (width === undefined) throw new Error(`internal: no size is known of the data type ${type}`);
  return width;
}

/** What a node says besides its operands; floats and texts do not matter here. */
export interface Attribute {
  readonly integer: number | undefined;
  readonly integers: readonly number[];
}

/** A node of the emitted program. Names that are empty stand for operands that are left out. */
export interface EmittedNode {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
}

/** A tensor that is part of the program, or that it maps from a file. */
export interface StoredConstant {
  readonly type: number;
  readonly shape: readonly number[];
  /** Elements of a short int64 tensor: shapes and axes. */
  readonly integers: readonly number[] | undefined;
  readonly external: boolean;
}

export interface DeclaredType {
  readonly type: number;
  readonly shape: readonly (number | string)[];
}

export interface DecodedProgram {
  /** As listed, so that the position is the index that ONNX Runtime gives to a node. */
  readonly nodes: readonly EmittedNode[];
  readonly constants: ReadonlyMap<string, StoredConstant>;
  readonly inputs: ReadonlyMap<string, DeclaredType>;
  /** Outputs that are tensors. */
  readonly outputs: ReadonlySet<string>;
  /** Types of results, as far as the program declares them. */
  readonly declared: ReadonlyMap<string, DeclaredType>;
}

/** An integer attribute. */
export const integerOf = ({ attributes }: EmittedNode, name: string): number | undefined =>
  attributes.get(name)?.integer;

/** A list of integers among the attributes. */
export const integersOf = ({ attributes }: EmittedNode, name: string): readonly number[] | undefined =>
  attributes.get(name)?.integers;

/** Elements of an int64 tensor up to this length are decoded: shapes and axes are shorter. */
const SHORT = 16;

function constant({ dataType, dims, rawData, externalData }: TensorProto): StoredConstant {
  const short = dataType === DATA_TYPE.int64 && rawData && rawData.byteLength <= 8 * SHORT;
  return {
    type: dataType ?? 0,
    shape: (dims ?? []).map(Number),
    integers: short
      ? [
          ...new BigInt64Array(
            rawData.buffer.slice(rawData.byteOffset, rawData.byteOffset + rawData.byteLength),
          ),
        ].map(Number)
      : undefined,
    external: (externalData ?? []).length > 0,
  };
}

const named = (infos: readonly ValueInfoProto[] | null | undefined) =>
  new Map(
    (infos ?? []).flatMap(({ name, type }) => {
      const tensor = type?.tensorType;
      if (!tensor) return [];
      const shape = (tensor.shape?.dim ?? []).map(
        ({ dimValue, dimParam }) => dimParam || Number(dimValue ?? 0),
      );
      return [[name ?? '', { type: tensor.elemType ?? 0, shape }] as const];
    }),
  );

export function decodeProgram({ bytes }: Program): DecodedProgram {
  const { graph } = onnx.ModelProto.decode(bytes);
  const outputs = named(graph?.output);
  return {
    nodes: (graph?.node ?? []).map(({ opType, input, output, attribute }) => ({
      type: opType ?? '',
      inputs: input ?? [],
      outputs: output ?? [],
      attributes: new Map(
        (attribute ?? []).map(({ name, i, ints }) => [
          name ?? '',
          {
            integer: i === undefined || i === null ? undefined : Number(i),
            integers: (ints ?? []).map(Number),
          },
        ]),
      ),
    })),
    constants: new Map((graph?.initializer ?? []).map((tensor) => [tensor.name ?? '', constant(tensor)])),
    inputs: named(graph?.input),
    outputs: new Set([...outputs.keys()].filter((name) => name !== SEQUENCE_OUTPUT)),
    declared: new Map([...outputs, ...named(graph?.valueInfo)]),
  };
}
