/** What the server makes of messages, against the same contract read by proto-loader. */
import { fileURLToPath } from 'node:url';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { expect } from 'chai';
import fc from 'fast-check';
import type { Field, Type } from 'protobufjs';
import { Enum, MapField, Root, Type as MessageType } from 'protobufjs/light.js';
import { CSI_DESCRIPTOR } from '../../src/csi/generated/descriptor.ts';
import type { CsiServiceName } from '../../src/csi/proto.ts';
import { csiService } from '../../src/csi/proto.ts';

const SERVICES: readonly CsiServiceName[] = ['Identity', 'Controller', 'Node'];
const DEEPEST = 4;

const contract = loadSync(fileURLToPath(new URL('../../proto/csi.proto', import.meta.url)), {
  keepCase: false,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});

/** Edges first: zero, the largest numbers of both signs, and one that a double cannot hold. */
const INT64 = fc.oneof(
  fc.constantFrom('0', '9223372036854775807', '-9223372036854775808', '9007199254740993'),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
);
const SCALARS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  string: fc.string(),
  bool: fc.boolean(),
  int32: fc.integer(),
  uint32: fc.nat(),
  int64: INT64,
  bytes: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
};

function valueOf(field: Field, depth: number): fc.Arbitrary<unknown> {
  const type = field.resolve().resolvedType;
  if (type instanceof MessageType) return messageOf(type, depth + 1);
  if (type instanceof Enum) return fc.constantFrom(...Object.keys(type.values));
  const scalar = SCALARS[field.type];
  if (scalar === undefined) throw new Error(`${field.fullName}: this test makes no ${field.type}`);
  return scalar;
}

function messageOf(type: Type, depth = 0): fc.Arbitrary<object> {
  const fields = depth >= DEEPEST ? [] : type.fieldsArray;
  const values: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of fields) {
    const value = valueOf(field, depth);
    if (field instanceof MapField)
      values[field.name] = fc.dictionary(fc.string(), value, { maxKeys: 3, noNullPrototype: true });
    else values[field.name] = field.repeated ? fc.array(value, { maxLength: 3 }) : value;
  }
  return fc.record(values, { requiredKeys: [] }).map((message) => withOneOfEach(type, message));
}

/** Of the fields of a `oneof`, the first that is there. */
function withOneOfEach(type: Type, message: Record<string, unknown>): object {
  const dropped = type.oneofsArray.flatMap((group) => group.oneof.filter((name) => name in message).slice(1));
  return Object.fromEntries(Object.entries(message).filter(([name]) => !dropped.includes(name)));
}

type Coder = MethodDefinition<object, object>;

function contractOf(name: CsiServiceName): Readonly<Record<string, Coder>> {
  return contract[`csi.v1.${name}`] as unknown as ServiceDefinition as Readonly<Record<string, Coder>>;
}

describe('services of the CSI server', () => {
  const root = Root.fromJSON(CSI_DESCRIPTOR as Parameters<typeof Root.fromJSON>[0]);
  for (const name of SERVICES) {
    const served = csiService(name) as Readonly<Record<string, Coder>>;

    it(`${name} has the methods and paths of the contract`, () => {
      const shape = ({ path, requestStream, responseStream }: Coder) => ({ path, requestStream, responseStream });
      const shapes = (methods: Readonly<Record<string, Coder>>) =>
        Object.fromEntries(Object.entries(methods).map(([method, coder]) => [method, shape(coder)]));
      expect(shapes(served)).to.deep.equal(shapes(contractOf(name)));
    });

    for (const method of root.lookupService(`csi.v1.${name}`).methodsArray) {
      it(`${name}/${method.name}: every message is read and written as the contract says`, () => {
        method.resolve();
        const ours = served[method.name];
        const theirs = contractOf(name)[method.name];
        if (ours === undefined || theirs === undefined) throw new Error(`${method.name} is missing`);
        const [request, response] = [method.resolvedRequestType, method.resolvedResponseType];
        if (request === null || response === null) throw new Error(`${method.name} has no messages`);
        fc.assert(
          fc.property(messageOf(request), messageOf(response), (sent, answered) => {
            const sentBytes = theirs.requestSerialize(sent);
            expect(ours.requestSerialize(sent)).to.deep.equal(sentBytes);
            expect(ours.requestDeserialize(sentBytes)).to.deep.equal(theirs.requestDeserialize(sentBytes));
            const answer = ours.responseSerialize(answered);
            expect(answer).to.deep.equal(theirs.responseSerialize(answered));
            expect(ours.responseDeserialize(answer)).to.deep.equal(theirs.responseDeserialize(answer));
          }),
          { numRuns: 40 },
        );
      });
    }
  }
});
