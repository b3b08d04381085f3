// What a read of the snapshot costs: the first thesis of a (ticker, as_of)
// reads it, the second, with another seed, finds it in the feature cache.
// PAIRS.

import { check } from 'k6';
import { Trend } from 'k6/metrics';
import exec from 'k6/execution';
import { TREND_STATS, date, post } from './common.js';

export { handleSummary, setup } from './common.js';

const cold = new Trend('cold_features_ms', true);
const warm = new Trend('warm_features_ms', true);

export const options = {
  summaryTrendStats: TREND_STATS,
  scenarios: {
    features: {
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
  [cold, warm].forEach((trend, seed) => {
    const response = post('/v1/thesis', { ...ask, seed });
    check(response, { 'status is 200': (r) => r.status === 200 });
    trend.add(response.timings.duration);
  });
}
