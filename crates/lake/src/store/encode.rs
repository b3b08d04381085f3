//! Records to the bytes of Parquet files and back. Equal rows give equal bytes.

use std::{collections::BTreeMap, fs::File, io::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Utc};
use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch, UInt32Array},
        compute::{concat_batches, take_record_batch},
        datatypes::{Field, Schema, TimestampMicrosecondType},
    },
    parquet::{
        arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
        basic::{Compression, ZstdLevel},
        file::properties::WriterProperties,
    },
};

use crate::{DateRange, Kind, LakeError, tables};

/// The rows of one file: those that became known in a year, or all where there
/// are none.
pub(super) struct Part {
    pub(super) known_year: Option<i32>,
    pub(super) batch: RecordBatch,
}

/// Sorts records and splits them by the year they became known in, so that later
/// records leave the files of earlier years as they are.
pub(super) fn parts(kind: Kind, batch: &RecordBatch) -> Result<Vec<Part>, LakeError> {
    let batch = tables::sorted(kind, batch)?;
    let mut rows = BTreeMap::<i32, Vec<u32>>::new();
    for (row, time) in (0u32..).zip(times(&batch, "known_at")) {
        let time = instant(*time).ok_or_else(|| LakeError::BadSnapshot {
            path: kind.table().into(),
            reason: format!("known_at {time} is not a time"),
        })?;
        rows.entry(time.year()).or_default().push(row);
    }
    if rows.is_empty() {
        return Ok(vec![Part { known_year: None, batch }]);
    }
    let part = |(year, rows): (i32, Vec<u32>)| -> Result<Part, LakeError> {
        let batch = take_record_batch(&batch, &UInt32Array::from(rows))?;
        Ok(Part { known_year: Some(year), batch })
    };
    rows.into_iter().map(part).collect()
}

/// Returns the first and last event time.
pub(super) fn date_range(batch: &RecordBatch) -> DateRange {
    let times = times(batch, "event_time");
    let end = |time: Option<&i64>| time.and_then(|time| instant(*time));
    DateRange { start: end(times.iter().min()), end: end(times.iter().max()) }
}

fn times<'a>(batch: &'a RecordBatch, column: &str) -> &'a [i64] {
    let column = batch.column_by_name(column);
    let times = column.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    times.map(|times| times.values().as_ref()).unwrap_or_default()
}

fn instant(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

/// Rows below which a file is not compressed: to set up a decompressor for each of its columns
/// takes longer than to read them.
const COMPRESSED_ROWS_MIN: usize = 16_384;

/// Encodes a file.
pub(super) fn encode(batch: &RecordBatch) -> Result<Bytes, LakeError> {
    let compression = if batch.num_rows() < COMPRESSED_ROWS_MIN {
        Compression::UNCOMPRESSED
    } else {
        Compression::ZSTD(ZstdLevel::try_new(3)?)
    };
    // A constant creator and no other metadata.
    let properties = WriterProperties::builder()
        .set_created_by("r2r".to_owned())
        .set_compression(compression)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(bytes.into())
}

/// Writes records to a file that is no snapshot's, durably.
pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch) -> Result<(), LakeError> {
    let mut file = File::create(path).map_err(LakeError::io("create", path))?;
    file.write_all(&encode(batch)?).map_err(LakeError::io("write", path))?;
    file.sync_all().map_err(LakeError::io("sync", path))
}

/// Decodes a file.
pub(super) fn decode(bytes: Bytes) -> Result<RecordBatch, LakeError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(1);
    let schema = builder.schema().clone();
    let batches = builder.with_batch_size(rows.max(1)).build()?.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// Joins the files of a kind, the rows of a ticker from one file after the other: the
/// order of tables where each file is sorted and they are in the order of their years. A
/// column that is null in one may be null in all.
pub(super) fn join(kind: Kind, batches: &[RecordBatch]) -> Result<RecordBatch, LakeError> {
    let Some(first) = batches.first() else {
        return crate::records::empty(kind);
    };
    let mut fields: Vec<Field> =
        first.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    for batch in batches {
        let other = batch.schema();
        let same =
            |(a, b): (&Field, &Arc<Field>)| a.name() == b.name() && a.data_type() == b.data_type();
        if other.fields().len() != fields.len() || !fields.iter().zip(other.fields()).all(same) {
            return Err(LakeError::BadSnapshot {
                path: kind.table().into(),
                reason: "its files have different columns".to_owned(),
            });
        }
        for (field, other) in fields.iter_mut().zip(other.fields()) {
            field.set_nullable(field.is_nullable() || other.is_nullable());
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let batches: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()))
        .collect::<Result<_, _>>()?;
    let mut runs = Vec::new();
    for batch in &batches {
        let of_file = tables::runs(kind, batch)?.into_iter();
        runs.extend(of_file.map(|(ticker, rows)| (ticker, batch.slice(rows.start, rows.len()))));
    }
    // Stable: a ticker's runs stay in the order of the files.
    runs.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(concat_batches(&schema, runs.iter().map(|(_, run)| run))?)
}
