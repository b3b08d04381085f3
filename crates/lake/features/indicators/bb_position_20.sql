-- name: bb_position_20
-- title: place of the close within the Bollinger bands
-- section: technicals
-- unit: ratio
-- use: research
-- window_days: 20
-- ttl_days: 10
-- kind: bars
-- formula: (C - lower) / (upper - lower), 20 sessions, 2 population deviations
(close - ts_mean(close, 20) OVER w) / (4 * nullif(ts_std_pop(close, 20) OVER w, 0)) + 0.5
