// What asking again saves: the first thesis of a (ticker, as_of) reads the
// snapshot and has its prompt decoded; the second, with another seed, finds
// both. PAIRS.

import { check } from 'k6';
import { Trend } from 'k6/metrics';
import exec from 'k6/execution';
import { TREND_STATS, date, post } from './common.js';

export { handleSummary, setup } from './common.js';

const first = new Trend('first_ask_ms', true);
const again = new Trend('another_seed_ms', true);

export const options = {
  summaryTrendStats: TREND_STATS,
  scenarios: {
    asks: {
      executor: 'shared-iterations',
      vus: 1,
      iterations: Number(__ENV.PAIRS || 10),
      maxDuration: '30m',
    },
  },
  thresholds: { checks: ['rate==1'] },
};

export default function (data) {
  const i = exec.scenario.iterationInTest;
  const ask = { ticker: data.tickers[i % data.tickers.length], as_of: date(i + 31) };
  [first, again].forEach((trend, seed) => {
    const response = post('/v1/thesis', { ...ask, seed });
    check(response, { 'status is 200': (r) => r.status === 200 });
    trend.add(response.timings.duration);
  });
}
