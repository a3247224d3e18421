/**
 * The part of CEL that the rules of our CRDs use: literals, `self`, `oldSelf`, members, `has()`, `size()`, `! - * / % + -`,
 * comparisons, `in` on lists, `&& ||`, `? :`. Anything else is refused when the rule is compiled.
 */
export interface Rule {
  /** Mentions `oldSelf`: applies to changes only. */
  readonly isTransition: boolean;
  evaluate(self: unknown, oldSelf: unknown): boolean;
}

type Scope = Readonly<Record<'self' | 'oldSelf', unknown>>;
type Expression = (scope: Scope) => unknown;

const TOKEN =
  /\s*(?:(\d+\.\d+|\d+)|('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|([A-Za-z_][A-Za-z0-9_]*)|(&&|\|\||[=!<>]=|[-+*/%!<>().,?:[\]]))/y;

export function compileRule(source: string): Rule {
  const parser = new Parser(source);
  const expression = parser.parse();
  return {
    isTransition: parser.mentions.has('oldSelf'),
    evaluate: (self, oldSelf) => {
      const result = expression({ self, oldSelf });
      if (typeof result !== 'boolean') throw new Error(`rule "${source}" gives no boolean`);
      return result;
    },
  };
}

class Parser {
  readonly mentions = new Set<string>();
  readonly #source: string;
  readonly #tokens: string[];
  #at = 0;

  constructor(source: string) {
    this.#source = source;
    this.#tokens = tokenize(source);
  }

  parse(): Expression {
    const expression = this.#ternary();
    if (this.#at !== this.#tokens.length) this.#refuse(`"${this.#peek()}"`);
    return expression;
  }

  #peek(): string {
    return this.#tokens[this.#at] ?? '';
  }

  #take(...wanted: string[]): string | undefined {
    const token = this.#peek();
    if (!wanted.includes(token)) return undefined;
    this.#at += 1;
    return token;
  }

  #expect(token: string): void {
    if (this.#take(token) === undefined) this.#refuse(`"${this.#peek()}" where "${token}" is expected`);
  }

  #refuse(what: string): never {
    throw new Error(`rule "${this.#source}" cannot be evaluated here: ${what}`);
  }

  #ternary(): Expression {
    const condition = this.#or();
    if (this.#take('?') === undefined) return condition;
    const yes = this.#ternary();
    this.#expect(':');
    const no = this.#ternary();
    return (scope) => (truth(condition(scope)) ? yes(scope) : no(scope));
  }

  #or(): Expression {
    let left = this.#and();
    while (this.#take('||') !== undefined) {
      const [a, b] = [left, this.#and()];
      left = (scope) => truth(a(scope)) || truth(b(scope));
    }
    return left;
  }

  #and(): Expression {
    let left = this.#comparison();
    while (this.#take('&&') !== undefined) {
      const [a, b] = [left, this.#comparison()];
      left = (scope) => truth(a(scope)) && truth(b(scope));
    }
    return left;
  }

  #comparison(): Expression {
    const left = this.#sum();
    const operator = this.#take('==', '!=', '<', '<=', '>', '>=', 'in');
    if (operator === undefined) return left;
    const right = this.#sum();
    return (scope) => compare(operator, left(scope), right(scope));
  }

  #sum(): Expression {
    let left = this.#product();
    for (let operator = this.#take('+', '-'); operator !== undefined; operator = this.#take('+', '-')) {
      left = arithmetic(operator, left, this.#product());
    }
    return left;
  }

  #product(): Expression {
    let left = this.#unary();
    for (let operator = this.#take('*', '/', '%'); operator !== undefined; operator = this.#take('*', '/', '%')) {
      left = arithmetic(operator, left, this.#unary());
    }
    return left;
  }

  #unary(): Expression {
    if (this.#take('!') !== undefined) {
      const operand = this.#unary();
      return (scope) => !truth(operand(scope));
    }
    if (this.#take('-') !== undefined) {
      const operand = this.#unary();
      return (scope) => -number(operand(scope));
    }
    return this.#members(this.#primary());
  }

  #members(base: Expression): Expression {
    let expression = base;
    while (this.#take('.') !== undefined) {
      const name = this.#name();
      if (this.#peek() === '(') this.#refuse(`the method "${name}"`);
      const object = expression;
      expression = (scope) => member(object(scope), name);
    }
    if (this.#peek() === '[') this.#refuse('an index');
    return expression;
  }

  #name(): string {
    const token = this.#peek();
    if (!/^[A-Za-z_]/.test(token)) this.#refuse(`"${token}" where a name is expected`);
    this.#at += 1;
    return token;
  }

  #primary(): Expression {
    const token = this.#peek();
    if (this.#take('(') !== undefined) {
      const inner = this.#ternary();
      this.#expect(')');
      return inner;
    }
    if (token === '[') return this.#listLiteral();
    if (/^\d/.test(token)) return this.#literal(Number(token));
    if (/^['"]/.test(token)) return this.#literal(token.slice(1, -1).replace(/\\(.)/g, '$1'));
    const name = this.#name();
    if (name === 'true' || name === 'false') return () => name === 'true';
    if (name === 'null') return () => null;
    if (name === 'has') return this.#has();
    if (name === 'size') return this.#size();
    if (name !== 'self' && name !== 'oldSelf') this.#refuse(`"${name}"`);
    this.mentions.add(name);
    return (scope) => scope[name];
  }

  #literal(value: unknown): Expression {
    this.#at += 1;
    return () => value;
  }

  #listLiteral(): Expression {
    this.#expect('[');
    const entries: Expression[] = [];
    while (this.#peek() !== ']') {
      entries.push(this.#ternary());
      if (this.#take(',') === undefined) break;
    }
    this.#expect(']');
    return (scope) => entries.map((entry) => entry(scope));
  }

  #has(): Expression {
    this.#expect('(');
    let object = this.#primary();
    let name = '';
    this.#expect('.');
    for (name = this.#name(); this.#take('.') !== undefined; name = this.#name()) {
      const [outer, inner] = [object, name];
      object = (scope) => member(outer(scope), inner);
    }
    this.#expect(')');
    return (scope) => {
      const value = object(scope);
      return typeof value === 'object' && value !== null && (value as Record<string, unknown>)[name] !== undefined;
    };
  }

  #size(): Expression {
    this.#expect('(');
    const operand = this.#ternary();
    this.#expect(')');
    return (scope) => {
      const value = operand(scope);
      if (typeof value === 'string') return Array.from(value).length;
      if (Array.isArray(value)) return value.length;
      if (typeof value === 'object' && value !== null) return Object.keys(value).length;
      throw new Error('size() of something without a size');
    };
  }
}

function tokenize(source: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  const text = source.trim();
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`rule "${source}" cannot be evaluated here: "${text.slice(at, at + 10)}"`);
    tokens.push(match[0].trim());
  }
  return tokens;
}

function truth(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new Error('not a boolean');
  return value;
}

function number(value: unknown): number {
  if (typeof value !== 'number') throw new Error('not a number');
  return value;
}

function member(object: unknown, name: string): unknown {
  const value = typeof object === 'object' && object !== null ? (object as Record<string, unknown>)[name] : undefined;
  if (value === undefined) throw new Error(`no such key: ${name}`);
  return value;
}

function compare(operator: string, a: unknown, b: unknown): boolean {
  if (operator === '==') return same(a, b);
  if (operator === '!=') return !same(a, b);
  if (operator === 'in') return Array.isArray(b) && b.some((entry) => same(entry, a));
  const order = typeof a === 'string' && typeof b === 'string' ? (a < b ? -1 : a > b ? 1 : 0) : number(a) - number(b);
  if (operator === '<') return order < 0;
  if (operator === '<=') return order <= 0;
  return operator === '>' ? order > 0 : order >= 0;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function arithmetic(operator: string, left: Expression, right: Expression): Expression {
  return (scope) => {
    const a = left(scope);
    const b = right(scope);
    if (operator === '+' && typeof a === 'string' && typeof b === 'string') return a + b;
    const [x, y] = [number(a), number(b)];
    if (operator === '+') return x + y;
    if (operator === '-') return x - y;
    if (operator === '*') return x * y;
    if (y === 0) throw new Error('division by zero');
    return operator === '/' ? Math.trunc(x / y) : x % y;
  };
}
