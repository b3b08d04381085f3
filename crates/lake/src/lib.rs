//! The data side of r2r: packages to records, records to immutable snapshots,
//! snapshots to point-in-time reads.
//!
//! ```text
//! configs/sources.toml     SourceList     what may be ingested
//! configs/providers.toml   ProviderList   who may be asked, for the feeds that are live
//! configs/universes/*.toml Universe       which names, which feeds
//! PackageCache::fetch                     pip, digest, cache     <data>/packages/
//! build_snapshot                          adapters               records of each kind
//!                                         gate                   quarantine, releases, embargo
//! SnapshotStore                           Parquet, manifests     <data>/objects, snapshots, refs
//! Snapshot::load, ::read                  cut to as_of, features, evidence
//! ```
//!
//! Nothing with `known_at > as_of` reaches a query: [`Snapshot::read`] first cuts
//! every table to the records known, and the features run over the cut tables only.

mod archive;
mod asof;
mod build;
mod calendar;
#[cfg(feature = "ballista")]
mod cluster;
mod engine;
mod error;
mod features;
mod gate;
mod kernels;
mod labels;
mod lineage;
mod package;
mod parallel;
mod prices;
mod proof;
mod providers;
mod read;
mod records;
mod research;
pub mod retrieval;
mod scan;
mod snapshot;
mod source_map;
mod sources;
mod store;
mod synthetic;
mod tables;
mod targets;
mod universe;
mod versions;
mod window;

pub use archive::Archive;
pub use asof::as_of_join;
pub use build::{BuildOptions, BuildReport, build_snapshot, fetch_universe, quarantined_record};
#[cfg(feature = "ballista")]
pub use cluster::{Cluster, ExecutorOptions, run_executor, run_scheduler};
pub use error::LakeError;
pub use features::{FeatureInfo, add_own_features, feature_catalogue};
pub use gate::{
    Embargo, Entitlement, Finding, QuarantineClass, Quarantined, Release, ReleaseLog,
    find_quarantined, release,
};
pub use labels::{
    HORIZONS, InstrumentClass, LabelConfig, LabelRow, LabelScheme, Thresholds, VOLATILITY_WINDOW,
    label_rows,
};
pub use lineage::{Citation, Cited, Lineage, LineageNode, NodeKind};
pub use package::PackageCache;
pub use prices::{Column, CorporateAction, KnownValue, PriceHistory, PricedSession, write_columns};
pub use proof::{Leak, LeakProof};
pub use providers::{
    Adapter, Ask, FetchOptions, FetchReport, Provider, ProviderList, RawArchive, RawReport,
    RawRows, RetryPolicy, fetch_commands, fetch_provider, parse_raw, process_env,
};
pub use records::{Kind, Rejected, TableMapping, TimeRule};
pub use research::{LabelStats, Panel, PanelOptions, write_derived, write_table};
pub use retrieval::{RetrievalConfig, RetrievalMethod, RetrievalRef, Retriever, WeightsRef};
pub use snapshot::{DEFAULT_UNIVERSE, Snapshot, TickerInfo};
pub use sources::{ArchiveKind, Source, SourceList, WheelTag};
pub use store::{
    Change, ChangedRecord, CopyReport, DataSource, DateRange, FeatureRef, GcOptions, GcReport,
    ListedSnapshot, MANIFEST_SCHEMA, MANIFEST_VERSION, Manifest, PackageRef, Quarantine, RawAnswer,
    SnapshotDiff, SnapshotStore, SourceDiff, SourceTotals, UniverseInfo, VerifyReport, validate,
};
pub use synthetic::{Market, Walks};
pub use targets::Target;
pub use universe::{FeedConfig, Format, MacroSeries, Name, Origin, Period, Split, Universe};
pub use window::describe as feature_functions;
