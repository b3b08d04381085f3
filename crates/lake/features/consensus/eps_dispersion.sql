-- name: eps_dispersion
-- title: range of EPS estimates to their mean
-- section: sentiment
-- unit: ratio
-- use: research
-- ttl_days: 200
-- kind: estimates
-- formula: (highest - lowest) / |mean| of the latest consensus of the next fiscal year to be reported; sources state the range, not the deviation of Diether, Malloy and Scherbina (2002)
SELECT (high - low) / abs(mean) AS value, event_time, known_at, source, url
FROM next_year_eps
WHERE age = 0 AND mean <> 0
