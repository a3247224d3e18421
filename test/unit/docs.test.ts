import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO_ROOT } from '../lab/paths.ts';

const text = (...parts: readonly string[]): string => readFileSync(join(REPO_ROOT, ...parts), 'utf8');

function filesIn(...folders: readonly string[]): readonly string[] {
  return folders.flatMap((folder) =>
    readdirSync(join(REPO_ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|mjs|md|h|cc|yaml)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)),
  );
}

describe('README', () => {
  it('says of every package why it is there, and of no other', () => {
    const table = /^## Dependencies.*?\n\n(\|.*?)\n\n/ms.exec(text('README.md'))?.[1] ?? '';
    const rows = table.split('\n').slice(2);
    const named = rows.flatMap((row) => (row.split('|')[1] ?? '').match(/(?<=`)[^`,]+(?=`)/g) ?? []);
    const { dependencies, devDependencies } = JSON.parse(text('package.json')) as Readonly<
      Record<'dependencies' | 'devDependencies', Readonly<Record<string, string>>>
    >;
    expect(named.filter((name) => name.trim() !== '').sort()).to.deep.equal(
      [...Object.keys(dependencies), ...Object.keys(devDependencies)].sort(),
    );
  });
});

describe('the contract', () => {
  it('has every section that is cited', () => {
    const sections = new Set(
      [...text('docs', 'contract.md').matchAll(/^#+ §([0-9.]+) /gm)].map(([, number]) => number),
    );
    const broken = filesIn('src', 'native', 'test', 'scripts', 'docs', 'deploy').flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/SPEC ((?:§[0-9]+(?:\.[0-9]+)?(?:, | to | and )?)+)/g)]
        .flatMap(([, list = '']) => [...list.matchAll(/§([0-9]+(?:\.[0-9]+)?)/g)])
        .filter(([, number]) => !sections.has(number))
        .map(([cited]) => `${file}: ${cited}`),
    );
    expect(sections.size).to.equal(12 + 15);
    expect(broken).to.deep.equal([]);
  });
});

describe('the description of the chart', () => {
  it('names the images that its values name', () => {
    const chart = parse(text('deploy', 'chart', 'Chart.yaml')) as {
      readonly appVersion: string;
      readonly annotations: Readonly<Record<string, string>>;
    };
    const values = parse(text('deploy', 'chart', 'values.yaml')) as {
      readonly image: { readonly repository: string };
      readonly sidecars: Readonly<
        Record<string, { readonly image?: { readonly repository: string; readonly tag: string } }>
      >;
    };
    const images = parse(chart.annotations['artifacthub.io/images'] ?? '') as readonly { readonly image: string }[];
    const sidecars = Object.values(values.sidecars).flatMap(({ image }) =>
      image === undefined ? [] : [`${image.repository}:${image.tag}`],
    );
    expect(images.map(({ image }) => image)).to.have.members([
      `${values.image.repository}:${chart.appVersion}`,
      ...sidecars,
    ]);
  });
});
