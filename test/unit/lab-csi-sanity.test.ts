import { expect } from 'chai';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CaseResult } from '../lab/csi-sanity/report.ts';
import { ACCESSES, faultsIn, prepareReports, readReport, reportPath } from '../lab/csi-sanity/report.ts';
import { SKIPS, skippedNames } from '../lab/csi-sanity/skips.ts';

const XML = `<?xml version="1.0" encoding="UTF-8"?>
  <testsuites tests="5" disabled="1" errors="0" failures="1" time="0.1">
      <testsuite name="CSI Driver Test Suite" package="/" tests="5" skipped="1" failures="1">
          <properties><property name="SuiteSucceeded" value="false"></property></properties>
          <testcase name="[BeforeSuite]" classname="CSI Driver Test Suite" status="passed" time="0"></testcase>
          <testcase name="[It] Probe &#34;ready&#34; &amp; alive" classname="CSI" status="passed" time="0">
              <system-err>&gt; Enter [It] &lt;/testcase&gt;</system-err>
          </testcase>
          <testcase name="[It] Snapshot lists" classname="CSI" status="skipped" time="0">
              <skipped message="skipped - not supported"></skipped>
          </testcase>
          <testcase name="[It] Pages" classname="CSI" status="pending" time="0"><skipped message="pending"></skipped></testcase>
          <testcase name="[It] Create refuses" classname="CSI" status="failed" time="0">
              <failure message="Expected&#xA;an error" type="failed">trace &lt;x&gt;</failure>
          </testcase>
          <testcase name="[It] Stage ends" classname="CSI" status="timedout" time="0"><error message="too long"></error></testcase>
          <testcase name="[AfterSuite]" classname="CSI Driver Test Suite" status="panicked" time="0"/>
      </testsuite>
  </testsuites>`;

const passed = (name: string): CaseResult => ({ name, status: 'passed', message: '' });
const skipped = (name: string): CaseResult => ({ name, status: 'skipped', message: 'skipped - why' });

describe('the report of csi-sanity', () => {
  it('of an earlier run is gone before the next one begins', async () => {
    const parent = mkdtempSync(join(tmpdir(), 'meshstor-reports-'));
    try {
      const results = join(parent, 'results');
      await prepareReports(results);
      for (const access of ACCESSES) writeFileSync(reportPath(results, access), XML);
      await prepareReports(results);
      expect(ACCESSES.filter((access) => existsSync(reportPath(results, access)))).to.deep.equal([]);
    } finally {
      rmSync(parent, { recursive: true });
    }
  });

  it('gives every case with its outcome, what did not end well as failed, what is pending as skipped', () => {
    expect(readReport(XML)).to.deep.equal([
      { name: 'Probe "ready" & alive', status: 'passed', message: '' },
      { name: 'Snapshot lists', status: 'skipped', message: 'skipped - not supported' },
      { name: 'Pages', status: 'skipped', message: 'pending' },
      { name: 'Create refuses', status: 'failed', message: 'Expected\nan error' },
      { name: 'Stage ends', status: 'failed', message: 'too long' },
      { name: '[AfterSuite]', status: 'failed', message: 'panicked' },
    ]);
  });

  it('is none without cases', () => {
    expect(() => readReport('<testsuites></testsuites>')).to.throw('no cases');
  });

  it('is faultless when exactly the listed cases were skipped and enough passed', () => {
    expect(faultsIn([passed('a'), passed('b'), skipped('c')], new Set(['c']), 2)).to.deep.equal([]);
  });

  it('is at fault for a failed case, a skip that is not listed, a listed one that ran, and too few passed', () => {
    const cases: CaseResult[] = [passed('a'), skipped('b'), { name: 'c', status: 'failed', message: 'why' }];
    expect(faultsIn(cases, new Set(['a']), 2)).to.deep.equal([
      'failed: c: why',
      'skipped without being listed: b: skipped - why',
      'listed as skipped, but was not: a',
      '1 cases passed, at least 2 must',
    ]);
  });

  it('is measured by a list that gives a reason for every case and names none twice', () => {
    const names = SKIPS.flatMap(({ cases }) => cases);
    expect(skippedNames().size).to.equal(names.length);
    for (const { because, cases } of SKIPS) {
      expect(because).to.match(/\w+ \w+ \w+/);
      expect(cases).to.not.be.empty;
    }
  });
});
