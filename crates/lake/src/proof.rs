//! The leak proof: whatever happens to records with `known_at > as_of`, in every table,
//! nothing that was known by then moves - neither a read nor the history of a feature.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
        StringViewArray, TimestampMicrosecondArray, UInt32Array,
    },
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use domain::{AsOf, AsOfRead, Ticker};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::{
    FeatureInfo, Kind, LakeError, Snapshot,
    engine::Engine,
    features::{add, feature_catalogue},
    records::time_type,
    tables::Tables,
};

const DAY: i64 = 86_400_000_000;

/// What a case of the proof has found to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The name.
    pub ticker: Ticker,
    /// The point in time.
    pub as_of: AsOf,
    /// What moved: `read`, or the feature.
    pub what: String,
    /// The first difference, before and after.
    pub detail: String,
}

/// Compares a snapshot with copies of itself whose future was changed.
#[derive(Debug)]
pub struct LeakProof<'s> {
    snapshot: &'s Snapshot,
    /// All features, and those that are to be proven before they are added.
    engine: Engine,
}

impl<'s> LeakProof<'s> {
    /// Prepares the proof for a snapshot and all features, with further ones, which take the
    /// place of the user's own of their names.
    ///
    /// # Errors
    /// Fails when a feature cannot be planned, and when another has the name of a further
    /// one.
    pub async fn new(snapshot: &'s Snapshot, further: Vec<FeatureInfo>) -> Result<Self, LakeError> {
        let mut features = feature_catalogue()?;
        let is_named = |name: &str| further.iter().any(|other| other.name == name);
        features.retain(|feature| !feature.is_own || !is_named(&feature.name));
        for feature in further {
            add(feature, &mut features)?;
        }
        let engine = Engine::new(&snapshot.tables, features).await?;
        Ok(Self { snapshot, engine })
    }

    /// Changes everything known after `as_of`, by `seed`, and returns what moved: the bytes
    /// `render` makes of a read, a feature's value at `as_of`, or its history until then.
    ///
    /// # Errors
    /// Fails when a read fails.
    pub async fn case(
        &self,
        ticker: &Ticker,
        as_of: AsOf,
        seed: u64,
        render: impl Fn(&AsOfRead) -> String,
    ) -> Result<Option<Leak>, LakeError> {
        let leak = |what: String, detail: String| {
            Ok(Some(Leak { ticker: ticker.clone(), as_of, what, detail }))
        };
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut perturbed = BTreeMap::new();
        for kind in Kind::ALL {
            let batch = self.snapshot.tables.batch(kind);
            perturbed.insert(kind, perturb(batch, ticker, as_of, &mut random)?);
        }
        let manifest = self.snapshot.manifest().clone();
        let retriever = self.snapshot.retriever().clone();
        let other = Snapshot::from_batches(manifest, perturbed, retriever).await?;
        let before = render(&self.snapshot.read(ticker, as_of).await?);
        let after = render(&other.read(ticker, as_of).await?);
        if let Some(detail) = difference(&before, &after) {
            return leak("read".to_owned(), detail);
        }
        let others = &other.tables;
        let values = self.engine.run(self.snapshot.tables.cut(ticker, as_of)?.by_name()).await?;
        let moved = self.engine.run(others.cut(ticker, as_of)?.by_name()).await?;
        for ((feature, before), after) in self.engine.features().iter().zip(values).zip(moved) {
            if before != after {
                return leak(feature.name.clone(), format!("{before:?} became {after:?}"));
            }
        }
        for session in self.sessions(ticker, as_of)? {
            let before = self.history_at(&self.snapshot.tables, ticker, session).await?;
            let after = self.history_at(others, ticker, session).await?;
            for (name, before) in before {
                let after = after.get(&name).copied().flatten();
                if before.map(f64::to_bits) != after.map(f64::to_bits) {
                    let session = Date32Type::to_naive_date_opt(session).unwrap_or_default();
                    let detail = format!("its value of {session}: {before:?} became {after:?}");
                    return leak(name, detail);
                }
            }
        }
        Ok(None)
    }

    /// Returns the features that have a value at a point in time: of others a case proves
    /// nothing.
    ///
    /// # Errors
    /// Fails when a query fails.
    pub async fn defined(&self, ticker: &Ticker, as_of: AsOf) -> Result<Vec<String>, LakeError> {
        let rows = self.engine.run(self.snapshot.tables.cut(ticker, as_of)?.by_name()).await?;
        let found = self.engine.features().iter().zip(rows);
        Ok(found.filter_map(|(info, row)| row.map(|_| info.name.clone())).collect())
    }

    /// Returns the last session known at `as_of` and two earlier ones.
    fn sessions(&self, ticker: &Ticker, as_of: AsOf) -> Result<Vec<i32>, LakeError> {
        let known = self.snapshot.tables.cut(ticker, as_of)?;
        let sessions = known.get(Kind::Bars).and_then(|batch| batch.column_by_name("session"));
        let sessions = sessions.and_then(|column| column.as_primitive_opt::<Date32Type>());
        let sessions: &[i32] = sessions.map_or(&[], |sessions| sessions.values());
        let back = |n: usize| sessions.len().checked_sub(n).map(|row| sessions[row]);
        Ok([1, 22, 101].into_iter().filter_map(back).collect())
    }

    /// Returns the series at a session as a panel has them: of all times at once where the
    /// sessions became known in order, else by a read.
    async fn history_at(
        &self,
        tables: &Tables,
        ticker: &Ticker,
        session: i32,
    ) -> Result<BTreeMap<String, Option<f64>>, LakeError> {
        let as_of = AsOf::end_of(Date32Type::to_naive_date_opt(session).unwrap_or_default());
        let is_series = |feature: &FeatureInfo| feature.is_series() && feature.kind == Kind::Bars;
        let features = self.engine.features();
        if !tables.is_regular(ticker.as_str()) {
            let rows = self.engine.run(tables.cut(ticker, as_of)?.by_name()).await?;
            let values = features.iter().zip(rows).filter(|(feature, _)| is_series(feature));
            return Ok(values.map(|(f, row)| (f.name.clone(), row.map(|row| row.value))).collect());
        }
        let all = tables.of_ticker(ticker, as_of)?;
        let Some(batch) = self.engine.run_series(Kind::Bars, all.by_name()).await? else {
            return Ok(BTreeMap::new());
        };
        let sessions = batch.column_by_name("session").map(|c| c.as_primitive::<Date32Type>());
        let row = sessions.and_then(|s| s.values().iter().position(|day| *day == session));
        let value = |feature: &FeatureInfo| {
            let column = batch.column_by_name(&feature.name)?.as_primitive::<Float64Type>();
            let row = row.filter(|row| column.is_valid(*row))?;
            Some(column.value(row)).filter(|value| value.is_finite())
        };
        let series = features.iter().filter(|feature| is_series(feature));
        Ok(series.map(|feature| (feature.name.clone(), value(feature))).collect())
    }
}

/// Replaces every later record: some are deleted, some doubled, all changed in every
/// column, new ones come in (also for names that had none), some known one microsecond
/// after `as_of`. Earlier records change their order only.
fn perturb(
    batch: &RecordBatch,
    ticker: &Ticker,
    as_of: AsOf,
    random: &mut ChaCha20Rng,
) -> Result<RecordBatch, LakeError> {
    let last = as_of.instant().timestamp_micros();
    let mut known = rows(batch, |t| t <= last);
    let turn = below(random, known.len());
    known.rotate_left(turn);
    let future = rows(batch, |t| t > last);
    // A table without later records gets some made of earlier ones.
    let pool = if future.is_empty() { known.clone() } else { future };
    if pool.is_empty() {
        return Ok(batch.clone());
    }
    let count = 20 + below(random, 400);
    let picked: Vec<u32> = (0..count).map(|_| pool[below(random, pool.len())]).collect();
    let later = take_record_batch(batch, &UInt32Array::from(picked))?;
    let schema = later.schema();
    let fields = schema.fields().iter().zip(later.columns());
    let columns = fields.map(|(field, column)| change(field.name(), column, ticker, last, random));
    let later = RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)?;
    let known = take_record_batch(batch, &UInt32Array::from(known))?;
    Ok(concat_batches(&schema, [&later, &known])?)
}

fn change(
    name: &str,
    column: &ArrayRef,
    ticker: &Ticker,
    last: i64,
    random: &mut ChaCha20Rng,
) -> Result<ArrayRef, LakeError> {
    let rows = 0..column.len();
    let times = |times: &mut dyn Iterator<Item = i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    Ok(match (name, column.data_type()) {
        ("known_at", _) => {
            let after = |row| if row == 0 { 0 } else { below(random, 900) as i64 * DAY / 3 };
            times(&mut rows.map(after).map(|after| last + 1 + after))
        }
        (_, DataType::Timestamp(..)) => {
            times(&mut rows.map(|_| last + (below(random, 800) as i64 - 400) * DAY))
        }
        ("ticker", _) => {
            let old = column.as_string_view();
            let value = |row| if below(random, 2) == 0 { ticker.as_str() } else { old.value(row) };
            Arc::new(StringViewArray::from_iter_values(rows.map(value)))
        }
        // Keys keep their meaning in half of the rows, so that queries would find them.
        (_, DataType::Utf8View) => {
            let old = column.as_string_view();
            let value = |row| match below(random, 2) {
                0 => old.value(row).to_owned(),
                _ => format!("{ticker} LEAK {}", random.next_u64()),
            };
            Arc::new(StringViewArray::from_iter_values(rows.map(value)))
        }
        (_, DataType::Float64) => {
            let old = column.as_primitive::<Float64Type>();
            let value = |row| {
                let factor = (1 + below(random, 1000)) as f64 / 7.0;
                old.is_valid(row).then(|| old.value(row) * factor + 1.0)
            };
            Arc::new(rows.map(value).collect::<Float64Array>())
        }
        (_, DataType::Boolean) => {
            let old = column.as_boolean();
            let value = |row| old.is_valid(row).then(|| below(random, 2) == 0);
            Arc::new(rows.map(value).collect::<BooleanArray>())
        }
        (_, DataType::Int64) => {
            let old = column.as_primitive::<Int64Type>();
            let value = |row| {
                let more = below(random, 1000) as i64;
                old.is_valid(row).then(|| old.value(row) + more)
            };
            Arc::new(rows.map(value).collect::<Int64Array>())
        }
        (_, DataType::Date32) => {
            let old = column.as_primitive::<Date32Type>();
            let value = |row| {
                let shift = below(random, 800) as i32 - 400;
                old.is_valid(row).then(|| old.value(row) + shift)
            };
            Arc::new(rows.map(value).collect::<Date32Array>())
        }
        (name, other) => {
            let reason = format!("column {name} of type {other} cannot be perturbed");
            return Err(LakeError::BadSnapshot { path: name.into(), reason });
        }
    })
}

fn rows(batch: &RecordBatch, keep: impl Fn(i64) -> bool) -> Vec<u32> {
    let times = batch.column_by_name("known_at").filter(|c| *c.data_type() == time_type());
    let times = times.map(|c| c.as_primitive::<TimestampMicrosecondType>().values().as_ref());
    let times: &[i64] = times.unwrap_or_default();
    (0u32..).zip(times).filter(|(_, t)| keep(**t)).map(|(row, _)| row).collect()
}

fn below(random: &mut ChaCha20Rng, n: usize) -> usize {
    (random.next_u64() % n.max(1) as u64) as usize
}

/// Returns the surroundings of the first difference.
fn difference(before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let common = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let part =
        |text: &str| -> String { text.chars().skip(common.saturating_sub(20)).take(60).collect() };
    Some(format!("{:?} became {:?}", part(before), part(after)))
}
