//! The feature catalogue: SQL files with a header, listed by the build script.
//!
//! A file is either an expression over the sessions of a name or of the market, which
//! is a series with a value at each session, or a query over the tables of one point
//! in time that returns one row. A file whose header names `windows` stands for a
//! feature per window, `{n}` in its texts.
//!
//! Files of the user's own, in a directory beside the data, are found like those of the
//! catalogue, without a build. They are for research: a snapshot names the digests of what a
//! thesis may cite, and those files belong to no snapshot.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use domain::{Digest, Polarity, Section, Unit};
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::{FeatureRef, Kind, LakeError};

include!(concat!(env!("OUT_DIR"), "/sql_files.rs"));

/// Names that would let a feature depend on something else than the records.
const FORBIDDEN: [&str; 7] =
    ["now(", "current_date", "current_time", "random(", "uuid(", "today(", "information_schema"];

/// Bounds of a file of the user's own: planning goes as deep as an expression is long.
const OWN_BYTES_MAX: u64 = 16 << 10;
const OWN_WORDS_MAX: usize = 500;

/// A feature file: what its header says, and its query.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureInfo {
    /// Stable name, also the file's.
    pub name: String,
    /// How a sentence calls it.
    pub title: String,
    /// How the prompt calls it, in few tokens; the title where the header does not say.
    pub short: String,
    /// The section it speaks to.
    pub section: Section,
    /// How to read the value.
    pub unit: Unit,
    /// What a rise means for the stock; good where the header does not say.
    pub polarity: Polarity,
    /// Length of the window in days or sessions.
    pub window_days: Option<u32>,
    /// Days after the event time during which the value may be used.
    pub ttl_days: Option<u32>,
    /// Kind of record it rests on first; names the source where the query does not.
    pub kind: Kind,
    /// Whether it counts what its section can rest on.
    pub coverage: bool,
    /// Whether a thesis may cite it; others are for research only.
    pub evidence: bool,
    /// Source of the formula, in words.
    pub formula: String,
    /// File it comes from: below `crates/lake/features/`, or the path of one of the user's own.
    pub file: String,
    /// Whether the file is the user's own.
    pub is_own: bool,
    /// The query, or the expression of a series.
    pub sql: String,
}

impl FeatureInfo {
    /// Returns the reference a manifest holds.
    #[must_use]
    pub fn reference(&self) -> FeatureRef {
        let section = self.section.key().to_owned();
        FeatureRef { name: self.name.clone(), section, sha256: Digest::of(&self.sql) }
    }

    /// Tells whether it is a series: an expression with a value at each session.
    #[must_use]
    pub fn is_series(&self) -> bool {
        let starts =
            |word: &str| self.sql.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
        !starts("SELECT") && !starts("WITH")
    }

    /// Reads all features of a file.
    fn parse_file(file: &str, text: &str) -> Result<Vec<Self>, LakeError> {
        let windows = Header::parse(file, text)?.take_windows()?;
        if windows.is_empty() {
            return Ok(vec![Self::parse(file, text)?]);
        }
        let of_window = |n: &u32| Self::parse(file, &text.replace("{n}", &n.to_string()));
        windows.iter().map(of_window).collect()
    }

    fn parse(file: &str, text: &str) -> Result<Self, LakeError> {
        let mut header = Header::parse(file, text)?;
        let windows = header.take_windows()?;
        let title = header.take("title")?;
        let sql: Vec<&str> = text.lines().skip_while(|line| line.starts_with("-- ")).collect();
        let feature = Self {
            name: header.take("name")?,
            short: if header.keys.contains_key("short") {
                header.take("short")?
            } else {
                title.clone()
            },
            title,
            section: header.take_key("section")?,
            unit: header.take_key("unit")?,
            polarity: if header.keys.contains_key("polarity") {
                header.take_key("polarity")?
            } else {
                Polarity::default()
            },
            window_days: header.take_days("window_days")?,
            ttl_days: header.take_days("ttl_days")?,
            kind: header.take_key("kind")?,
            coverage: match header.keys.remove("coverage") {
                None => false,
                Some("true") => true,
                Some(_) => return Err(header.bad("coverage is true or left out")),
            },
            evidence: match header.keys.remove("use") {
                None => true,
                Some("research") => false,
                Some(_) => return Err(header.bad("use is research or left out")),
            },
            formula: header.take("formula")?,
            file: file.to_owned(),
            is_own: false,
            sql: sql.join("\n").trim().trim_end_matches(';').to_owned(),
        };
        if let Some(unknown) = header.keys.keys().next() {
            return Err(header.bad(format!("its header has an unknown key {unknown:?}")));
        }
        // A file of several windows has `n` in its name where the feature has the number.
        let stem = file.rsplit('/').next().and_then(|name| name.strip_suffix(".sql"));
        let is_named = |stem: &str| match feature.window_days {
            Some(n) if !windows.is_empty() => stem.replace("_n", &format!("_{n}")) == feature.name,
            _ => stem == feature.name,
        };
        if !stem.is_some_and(is_named) {
            return Err(header.bad("its name is not that of the file"));
        }
        if feature.is_series() && !matches!(feature.kind, Kind::Bars | Kind::Index) {
            return Err(header.bad("an expression is over bars or index; others need a query"));
        }
        let lower = text.to_lowercase();
        if let Some(word) = FORBIDDEN.iter().find(|word| lower.contains(**word)) {
            return Err(header.bad(format!("a feature depends on records only, not on {word}")));
        }
        Ok(feature)
    }
}

impl FeatureInfo {
    /// Returns a feature of the catalogue. Of the user's own files only the one of this name
    /// is read, where there is one: others that are not finished stop nothing.
    ///
    /// # Errors
    /// Fails on an unknown name, and tells the most similar one, and on a file of the user's
    /// own that has the name of one of the program's features.
    pub fn find(name: &str) -> Result<Self, LakeError> {
        Self::find_in(name, OWN_DIR.get().map(PathBuf::as_path))
    }

    fn find_in(name: &str, own: Option<&Path>) -> Result<Self, LakeError> {
        let named = |features: &[Self]| features.iter().find(|f| f.name == name).cloned();
        let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let file = own.filter(|_| is_word).map(|dir| dir.join(format!("{name}.sql")));
        let file = file.filter(|file| file.exists());
        match (named(builtin()?), file) {
            (Some(found), None) => return Ok(found),
            (Some(_), Some(file)) => return Err(taken(&file.display().to_string())),
            (None, Some(file)) => {
                if let Some(found) = named(&own_file(&file)?) {
                    return Ok(found);
                }
            }
            (None, None) => {}
        }
        // One of several windows is in a file of another name.
        let catalogue = catalogue()?;
        if let Some(found) = named(catalogue) {
            return Ok(found);
        }
        let score = |f: &&Self| strsim::jaro_winkler(&f.name, name);
        let near = catalogue.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
        let near = near.map(|feature| feature.name.clone()).unwrap_or_default();
        Err(LakeError::UnknownFeature { name: name.to_owned(), near })
    }

    /// Reads a feature file that is not part of the catalogue.
    ///
    /// # Errors
    /// Fails when the file cannot be read or its header is not valid.
    pub fn load(path: &Path) -> Result<Vec<Self>, LakeError> {
        let file = path.display().to_string();
        let metadata = fs::metadata(path).map_err(LakeError::io("read", path))?;
        if !metadata.is_file() {
            return Err(LakeError::feature(&file, "it is no regular file"));
        }
        if metadata.len() > OWN_BYTES_MAX {
            let reason = format!("it has more than {OWN_BYTES_MAX} bytes: divide it");
            return Err(LakeError::feature(&file, reason));
        }
        let text = fs::read_to_string(path).map_err(LakeError::io("read", path))?;
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.filter(|word| !word.is_empty()).count() > OWN_WORDS_MAX {
            let reason = format!("it has more than {OWN_WORDS_MAX} words: divide it");
            return Err(LakeError::feature(&file, reason));
        }
        // Some editors begin a file with a mark of its encoding.
        let mut features = Self::parse_file(&file, text.trim_start_matches('\u{feff}'))?;
        features.iter_mut().for_each(|feature| feature.is_own = true);
        Ok(features)
    }
}

/// The functions features call.
const FUNCTIONS: [&str; 3] = [
    include_str!("kernels/indicators.rs"),
    include_str!("kernels/rolling.rs"),
    include_str!("window.rs"),
];

/// Returns the reference of what all features share: the views and functions.
pub(crate) fn shared_code() -> FeatureRef {
    let parts: Vec<&str> = VIEW_FILES.iter().map(|(_, sql)| *sql).chain(FUNCTIONS).collect();
    FeatureRef {
        name: "views_and_functions".to_owned(),
        section: "all".to_owned(),
        sha256: Digest::of(parts.join("\0")),
    }
}

/// Where the user's own feature files are.
static OWN_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Adds the feature files of a directory, where it exists, to those this process finds by
/// name. A program says so once, before it looks for any.
pub fn add_own_features(dir: PathBuf) {
    // A second directory would change what was found before.
    let _ = OWN_DIR.set(dir);
}

/// Returns all features, by section and name, the user's own among them.
///
/// # Errors
/// Fails when a header is not valid, which a test excludes for the catalogue's own files.
pub fn feature_catalogue() -> Result<Vec<FeatureInfo>, LakeError> {
    catalogue().map(<[FeatureInfo]>::to_vec)
}

/// Returns the features a thesis may cite. Files of the user's own are not read.
pub(crate) fn cited_features() -> Result<Vec<FeatureInfo>, LakeError> {
    Ok(builtin()?.iter().filter(|feature| feature.evidence).cloned().collect())
}

fn catalogue() -> Result<&'static [FeatureInfo], LakeError> {
    static ALL: OnceLock<Vec<FeatureInfo>> = OnceLock::new();
    once(&ALL, || {
        let mut features = builtin()?.to_vec();
        if let Some(dir) = OWN_DIR.get().filter(|dir| dir.exists()) {
            add_files(dir, &mut features)?;
        }
        Ok(features)
    })
}

/// Parses the files of this program.
fn builtin() -> Result<&'static [FeatureInfo], LakeError> {
    static BUILTIN: OnceLock<Vec<FeatureInfo>> = OnceLock::new();
    once(&BUILTIN, || {
        let parsed = FEATURE_FILES.iter().map(|(file, text)| FeatureInfo::parse_file(file, text));
        let mut features = parsed.collect::<Result<Vec<_>, _>>()?.concat();
        sort(&mut features);
        Ok(features)
    })
}

/// Makes what is kept of features, unless it was made before.
fn once(
    kept: &'static OnceLock<Vec<FeatureInfo>>,
    make: impl FnOnce() -> Result<Vec<FeatureInfo>, LakeError>,
) -> Result<&'static [FeatureInfo], LakeError> {
    if let Some(features) = kept.get() {
        return Ok(features);
    }
    let features = make()?;
    Ok(kept.get_or_init(|| features))
}

/// Adds the SQL files of a directory, which must be for research and have names of their own.
fn add_files(dir: &Path, features: &mut Vec<FeatureInfo>) -> Result<(), LakeError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(LakeError::io("list", dir))?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    for path in paths {
        for feature in own_file(&path)? {
            add(feature, features)?;
        }
    }
    sort(features);
    Ok(())
}

/// Reads a file of the user's own, which must be for research.
fn own_file(path: &Path) -> Result<Vec<FeatureInfo>, LakeError> {
    let features = FeatureInfo::load(path)?;
    match features.iter().find(|feature| feature.evidence) {
        None => Ok(features),
        Some(cited) => Err(LakeError::feature(
            &cited.file,
            "a file of your own is for research: say `-- use: research`; theses cite the features \
             in crates/lake/features/",
        )),
    }
}

fn taken(file: &str) -> LakeError {
    LakeError::feature(file, "another feature has its name: rename this one")
}

/// Adds a feature, unless another has its name.
pub(crate) fn add(feature: FeatureInfo, features: &mut Vec<FeatureInfo>) -> Result<(), LakeError> {
    if features.iter().any(|other| other.name == feature.name) {
        return Err(taken(&feature.file));
    }
    features.push(feature);
    Ok(())
}

/// Puts features into the order of the catalogue.
pub(crate) fn sort(features: &mut [FeatureInfo]) {
    features
        .sort_by(|a, b| (a.section, a.coverage, &a.name).cmp(&(b.section, b.coverage, &b.name)));
}

/// The `-- key: value` lines a file starts with.
struct Header<'a> {
    file: &'a str,
    keys: BTreeMap<&'a str, &'a str>,
}

impl<'a> Header<'a> {
    fn parse(file: &'a str, text: &'a str) -> Result<Self, LakeError> {
        let mut header = Self { file, keys: BTreeMap::new() };
        for line in text.lines().map_while(|line| line.strip_prefix("-- ")) {
            let Some((key, value)) = line.split_once(": ") else {
                return Err(header.bad(format!("its header line {line:?} is not `-- key: value`")));
            };
            if header.keys.insert(key, value.trim()).is_some() {
                return Err(header.bad(format!("its header says {key} twice")));
            }
        }
        Ok(header)
    }

    fn bad(&self, reason: impl Into<String>) -> LakeError {
        LakeError::feature(self.file, reason)
    }

    fn take(&mut self, key: &str) -> Result<String, LakeError> {
        let value = self.keys.remove(key).filter(|v| !v.is_empty());
        value
            .map(str::to_owned)
            .ok_or_else(|| self.bad(format!("its header lacks `-- {key}: ...`")))
    }

    fn take_key<T: for<'d> Deserialize<'d>>(&mut self, key: &str) -> Result<T, LakeError> {
        let value = self.take(key)?;
        T::deserialize(StrDeserializer::<ValueError>::new(&value))
            .map_err(|e| self.bad(format!("{key}: {e}")))
    }

    fn take_windows(&mut self) -> Result<Vec<u32>, LakeError> {
        let Some(value) = self.keys.remove("windows") else {
            return Ok(Vec::new());
        };
        let windows = value.split(',').map(|n| n.trim().parse().ok());
        windows.collect::<Option<_>>().ok_or_else(|| self.bad("windows are numbers, as 5, 10, 20"))
    }

    fn take_days(&mut self, key: &str) -> Result<Option<u32>, LakeError> {
        let Some(value) = self.keys.remove(key) else {
            return Ok(None);
        };
        let days = value.parse().map_err(|_| self.bad(format!("{key} is not a number of days")))?;
        Ok(Some(days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_valid_and_every_section_has_one_coverage_feature() {
        let features = feature_catalogue().unwrap();
        for section in Section::ALL {
            let coverage = features.iter().filter(|f| f.section == section && f.coverage);
            assert_eq!(coverage.clone().count(), 1, "{section}");
            assert!(coverage.clone().all(|f| f.unit == Unit::Count), "{section}");
            let names: Vec<&str> =
                features.iter().filter(|f| f.section == section).map(|f| &f.short[..]).collect();
            let distinct: std::collections::BTreeSet<&&str> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{section}: {names:?}");
        }
        assert!(features.len() >= 30, "{}", features.len());
    }

    #[test]
    fn files_of_the_users_own_are_for_research_and_have_other_names() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, research: &str| {
            let text = format!(
                "-- name: {name}\n-- title: X\n-- section: technicals\n-- unit: share\n\
                 -- kind: bars\n-- formula: f\n{research}close / lag(close) OVER w\n"
            );
            fs::write(dir.path().join(format!("{name}.sql")), text).unwrap();
        };
        fs::write(dir.path().join("notes.txt"), "no feature").unwrap();
        write("mine", "-- use: research\n");
        let added = || {
            let mut features = builtin().unwrap().to_vec();
            add_files(dir.path(), &mut features).map(|()| features)
        };
        let features = added().unwrap();
        assert_eq!(features.len(), builtin().unwrap().len() + 1);
        let mine = features.iter().find(|feature| feature.name == "mine").unwrap();
        assert!(mine.is_own && !mine.evidence && mine.file.ends_with("mine.sql"), "{mine:?}");
        assert!(cited_features().unwrap().iter().all(|f| f.evidence && !f.is_own));
        let find = |name: &str| FeatureInfo::find_in(name, Some(dir.path()));
        for (name, research, says) in [
            ("vol_20d", "-- use: research\n", "another feature has its name"),
            ("cited", "", "say `-- use: research`"),
        ] {
            write(name, research);
            for error in [added().unwrap_err(), find(name).unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains(says) && error.contains(&format!("{name}.sql")), "{error}");
            }
            // What is not finished stops nothing else.
            assert_eq!(find("mine").unwrap(), *mine);
            assert_eq!(find("mom_30d").unwrap().name, "mom_30d");
            fs::remove_file(dir.path().join(format!("{name}.sql"))).unwrap();
        }
    }

    #[test]
    fn a_bad_header_is_refused_with_file_and_key() {
        let good = "-- name: x\n-- title: X\n-- section: market\n-- unit: level\n-- kind: index\n\
                    -- formula: f\nSELECT 1 AS value";
        let parse = |text: String| FeatureInfo::parse("x.sql", &text);
        assert!(parse(good.to_owned()).is_ok());
        for (from, to, says) in [
            ("-- title: X\n", "", "lacks `-- title"),
            ("-- title: X\n", "-- title: X\n-- short: \n", "lacks `-- short"),
            ("market", "weather", "section: unknown variant"),
            ("-- kind", "-- colour: red\n-- kind", "unknown key \"colour\""),
            ("name: x", "name: y", "not that of the file"),
            ("-- kind", "-- polarity: great\n-- kind", "polarity: unknown variant"),
            ("SELECT 1", "SELECT now()", "not on now("),
            ("SELECT 1", "SELECT CURRENT_TIMESTAMP", "not on current_time"),
            ("-- kind", "-- ttl_days: soon\n-- kind", "ttl_days is not a number"),
        ] {
            let error = parse(good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("x.sql"), "{error}");
        }
    }
}
