-- name: atr_14
-- title: average true range to the close
-- section: technicals
-- unit: ratio
-- use: research
-- window_days: 14
-- ttl_days: 10
-- kind: bars
-- formula: ATR(14) / C, Wilder
atr_wilder(high, low, close, 14) OVER w / close
