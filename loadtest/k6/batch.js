// One batch of 100 theses after the other; run it against a server without the
// answer cache, since the universe repeats inside a batch. BATCHES.

import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import exec from 'k6/execution';
import { TREND_STATS, date, post } from './common.js';

export { handleSummary, setup } from './common.js';

const answered = new Counter('theses_answered');
const failed = new Counter('theses_failed');
const batchMs = new Trend('batch_ms', true);

export const options = {
  summaryTrendStats: TREND_STATS,
  scenarios: {
    batch: {
      executor: 'shared-iterations',
      vus: 1,
      iterations: Number(__ENV.BATCHES || 1),
      maxDuration: '30m',
    },
  },
  thresholds: { theses_failed: ['count==0'] },
};

export default function (data) {
  const i = exec.scenario.iterationInTest;
  const wanted = Array.from({ length: 100 }, (_, n) => data.tickers[n % data.tickers.length]);
  const response = post('/v1/batch/thesis', { tickers: wanted, as_of: date(i + 7), seed: i });
  check(response, { 'status is 200': (r) => r.status === 200 });
  const elements = response.status === 200 ? response.json() : [];
  const problems = elements.filter((element) => element.problem !== undefined).length;
  check(elements, { 'in the order asked for': (e) => e.every((x, n) => x.ticker === wanted[n]) });
  answered.add(elements.length - problems);
  failed.add(wanted.length - elements.length + problems);
  batchMs.add(response.timings.duration);
}
