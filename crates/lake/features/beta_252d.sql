-- name: beta_252d
-- title: 252-day beta to the S&P 500
-- short: beta
-- section: risks
-- unit: ratio
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: cov(r, m) / var(m) of 252 simple daily returns
SELECT
    covar_samp(stock.ret, market.ret) / var_samp(market.ret) AS value,
    max(stock.event_time) AS event_time, greatest(max(stock.known_at), max(market.known_at)) AS known_at
FROM closes stock JOIN index_closes market ON market.session = stock.session
WHERE stock.age < 252
HAVING count(stock.ret) = 252 AND count(market.ret) = 252 AND var_samp(market.ret) > 0
