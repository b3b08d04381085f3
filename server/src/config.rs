//! Configuration: defaults, then `configs/server.toml`, then the environment
//! (`R2R_DATA_DIR`, `R2R_SERVER__HTTP__LISTEN`), then flags. One struct a section, validated
//! once; an unknown key is refused.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use inference::model::ModelManifest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Everything r2r-server can be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Sockets and HTTP limits.
    pub http: HttpConfig,
    /// Where the data lie.
    pub data: DataConfig,
    /// The model and its worker.
    pub engine: EngineConfig,
    /// Cache bounds.
    pub cache: CacheConfig,
    /// Batch bounds.
    pub batch: BatchConfig,
    /// Bounds of backtests.
    pub backtest: BacktestConfig,
}

/// Sockets and HTTP limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Connections at a time; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Most bytes of a request head.
    pub head_bytes_max: usize,
    /// Most bytes of a body of `POST /v1/thesis`.
    pub thesis_body_bytes_max: usize,
    /// Most bytes of a body of `POST /v1/batch/thesis`.
    pub batch_body_bytes_max: usize,
    /// A connection without a first byte is closed after this.
    pub first_byte_ms: u64,
    /// A head must be complete this long after its first byte.
    pub head_ms: u64,
    /// A body must be complete this long after its head.
    pub body_ms: u64,
    /// A kept-alive connection without a request is closed after this.
    pub idle_ms: u64,
    /// A client that takes no byte of an answer for so long is cut.
    pub write_stall_ms: u64,
    /// A thesis must be written within this.
    pub deadline_ms: u64,
    /// After a signal, requests in flight have this long to end.
    pub drain_ms: u64,
}

/// Where the data lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Directory that holds `models/` and `snapshots/`.
    pub dir: PathBuf,
    /// Directory of the snapshot; the current one of `dir` when absent.
    pub snapshot: Option<PathBuf>,
}

/// The model and its worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Name of the model, or path of its `.toml` manifest or `.gguf` file.
    pub model: String,
    /// Theses decoded at the same time; 0 stands for one a CPU.
    pub lanes: u32,
    /// Threads of each lane. With one, a thesis that is alone in the engine is
    /// decoded with the threads of all lanes.
    pub threads: u32,
    /// Single requests that may wait for the engine; one more is answered 503.
    pub queue_max: usize,
    /// A single request that would not be answered within this is answered 503 at
    /// once, unless a lane is free for it. Batches wait.
    pub latency_max_ms: u64,
    /// Whether a second worker stands by, so that the loss of the first costs some
    /// milliseconds instead of the time a model takes to load. It takes as much memory.
    pub standby: bool,
    /// Bytes of decoded prompts kept: who asks about the same ticker and date with
    /// another seed waits a third as long.
    pub prompt_cache_bytes_max: u64,
}

/// Cache bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Bytes of as-of reads kept.
    pub reads_bytes_max: u64,
    /// Bytes of answers kept.
    pub answers_bytes_max: u64,
    /// Bytes of backtests kept.
    pub backtests_bytes_max: u64,
}

/// Batch bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Most tickers of one batch.
    pub tickers_max: usize,
}

/// Bounds of backtests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BacktestConfig {
    /// A backtest that is not computed within this is answered 202, with where it will be.
    pub wait_ms: u64,
    /// Backtests that may wait or run; one more is answered 503.
    pub jobs_max: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            connections_max: 1024,
            head_bytes_max: 16 << 10,
            thesis_body_bytes_max: 64 << 10,
            batch_body_bytes_max: 1 << 20,
            first_byte_ms: 5_000,
            head_ms: 5_000,
            body_ms: 10_000,
            idle_ms: 60_000,
            write_stall_ms: 30_000,
            deadline_ms: 60_000,
            drain_ms: 25_000,
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("data"), snapshot: None }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            model: ModelManifest::DEFAULT.to_owned(),
            lanes: 0,
            threads: 1,
            queue_max: 64,
            latency_max_ms: 1_800,
            standby: true,
            prompt_cache_bytes_max: 256 << 20,
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            reads_bytes_max: 64 << 20,
            answers_bytes_max: 256 << 20,
            backtests_bytes_max: 64 << 20,
        }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { tickers_max: 1_000 }
    }
}

impl Default for BacktestConfig {
    fn default() -> Self {
        Self { wait_ms: 1_000, jobs_max: 16 }
    }
}

/// The configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file, a variable or a key is wrong.
    #[error("configuration: {0}")]
    Unreadable(Box<figment::Error>),
    /// A value is outside its range.
    #[error("configuration: {key} is {found}, expected {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it is set to.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
}

impl Config {
    /// Reads defaults, `file` where given, and the environment.
    ///
    /// # Errors
    /// Fails on an unreadable file, an unknown key, a wrong type and a value
    /// outside its range.
    pub fn load(file: Option<&std::path::Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        // What the command line reads too.
        if let Ok(dir) = std::env::var("R2R_DATA_DIR") {
            figment = figment.merge(Serialized::default("data.dir", dir));
        }
        Self::over_defaults(figment.merge(Env::prefixed("R2R_SERVER__").split("__")))
    }

    fn over_defaults(stated: Figment) -> Result<Self, ConfigError> {
        let config: Self = Figment::from(Serialized::defaults(Self::default()))
            .merge(stated)
            .extract()
            .map_err(|error| ConfigError::Unreadable(Box::new(error)))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let http = &self.http;
        let positive: [(&'static str, u64); 13] = [
            ("http.connections_max", http.connections_max as u64),
            ("http.thesis_body_bytes_max", http.thesis_body_bytes_max as u64),
            ("http.batch_body_bytes_max", http.batch_body_bytes_max as u64),
            ("http.first_byte_ms", http.first_byte_ms),
            ("http.head_ms", http.head_ms),
            ("http.body_ms", http.body_ms),
            ("http.idle_ms", http.idle_ms),
            ("http.write_stall_ms", http.write_stall_ms),
            ("http.deadline_ms", http.deadline_ms),
            ("engine.queue_max", self.engine.queue_max as u64),
            ("engine.latency_max_ms", self.engine.latency_max_ms),
            ("engine.threads", self.engine.threads.into()),
            ("backtest.jobs_max", self.backtest.jobs_max as u64),
        ];
        if let Some(&(key, found)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Range { key, found, expected: "more than 0" });
        }
        let head = http.head_bytes_max;
        if !(1 << 10..=1 << 18).contains(&head) {
            let expected = "1024 to 262144";
            return Err(ConfigError::Range {
                key: "http.head_bytes_max",
                found: head as u64,
                expected,
            });
        }
        let tickers = self.batch.tickers_max;
        if !(1..=1_000).contains(&tickers) {
            let expected = "1 to 1000";
            return Err(ConfigError::Range {
                key: "batch.tickers_max",
                found: tickers as u64,
                expected,
            });
        }
        Ok(())
    }
}

impl HttpConfig {
    /// Returns how long a thesis may take.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// Returns how long a body may take.
    #[must_use]
    pub const fn body(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the environment: `make test` sets some of it.
    fn parse(toml: &str) -> Result<Config, String> {
        Config::over_defaults(Figment::from(Toml::string(toml))).map_err(|error| error.to_string())
    }

    /// The file in the repository states the defaults, so it documents them.
    #[test]
    fn the_shipped_file_states_the_defaults() {
        let shipped = include_str!("../../configs/server.toml");
        assert_eq!(parse(shipped).unwrap(), Config::default());
    }

    #[test]
    fn refuses_unknown_keys_and_values_out_of_range() {
        for (toml, word) in [
            ("[http]\nlisten_on = '127.0.0.1:1'", "listen_on"),
            ("[htp]\n", "htp"),
            ("[http]\nlisten = 'everywhere'", "listen"),
            ("[http]\nhead_ms = 0", "head_ms"),
            ("[batch]\ntickers_max = 5000", "tickers_max"),
            ("[engine]\nthreads = 0", "threads"),
        ] {
            let message = parse(toml).unwrap_err();
            assert!(message.contains(word), "{toml:?}: {message}");
        }
    }
}
