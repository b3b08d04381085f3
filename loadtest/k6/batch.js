// A hundred distinct (ticker, as_of): a batch of all tickers for each of five
// dates, sent together, on features that were read before. Run it against a
// server that keeps neither answers nor prompts. ROUNDS.

import { check } from 'k6';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';
import exec from 'k6/execution';
import { TREND_STATS, date, json, setup as tickers, url } from './common.js';

export { handleSummary } from './common.js';

const answered = new Counter('theses_answered');
const failed = new Counter('theses_failed');
const hundredMs = new Trend('hundred_ms', true);
const DATES = [0, 1, 2, 3, 4].map((i) => date(7 + 13 * i));

export const options = {
  summaryTrendStats: TREND_STATS,
  setupTimeout: '30m',
  scenarios: {
    batch: {
      executor: 'shared-iterations',
      vus: 1,
      iterations: Number(__ENV.ROUNDS || 1),
      maxDuration: '30m',
    },
  },
  thresholds: { theses_failed: ['count==0'] },
};

function hundred(names, seed) {
  const ask = (as_of) => ['POST', url('/v1/batch/thesis'), ...json({ tickers: names, as_of, seed })];
  return http.batch(DATES.map(ask));
}

// Reads the features.
export function setup() {
  const data = tickers();
  hundred(data.tickers.slice(0, 20), 1000);
  return data;
}

export default function (data) {
  const names = data.tickers.slice(0, 20);
  const begin = Date.now();
  const responses = hundred(names, exec.scenario.iterationInTest);
  hundredMs.add(Date.now() - begin);
  for (const response of responses) {
    check(response, { 'status is 200': (r) => r.status === 200 });
    const elements = response.status === 200 ? response.json() : [];
    const problems = elements.filter((element) => element.problem !== undefined).length;
    check(elements, { 'in the order asked for': (e) => e.every((x, n) => x.ticker === names[n]) });
    answered.add(elements.length - problems);
    failed.add(names.length - elements.length + problems);
  }
}
