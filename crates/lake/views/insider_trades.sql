-- Form 4 transactions without those an amendment (4/A) has replaced: same owner,
-- same period of report, original filing date as the amendment states it.
SELECT trade.*
FROM insider trade
LEFT ANTI JOIN (SELECT * FROM insider WHERE form = '4/A') amendment
ON trade.form = '4'
    AND amendment.owner_cik = trade.owner_cik
    AND amendment.period = trade.period
    AND amendment.orig_filed = trade.filed
