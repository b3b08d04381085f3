//! Which retrieval a snapshot is read with: chosen in the universe, noted in the
//! manifest and so in the id of the snapshot, which every answer's receipt carries.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
};

use domain::Digest;
use serde::{Deserialize, Serialize};

use super::{
    embed::{Embedder, StaticEmbedder},
    queries::queries_digest,
};
use crate::{
    ArchiveKind, LakeError, PackageCache, PackageRef, Source, SourceList, archive::Archive,
};

/// How texts are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetrievalMethod {
    /// By words alone. Needs no weights.
    #[default]
    #[serde(rename = "bm25")]
    Bm25,
    /// By words and by static vectors, one per token.
    #[serde(rename = "bm25+static")]
    Bm25Static,
    /// By words and by a sentence transformer; needs the cargo feature `minilm`.
    #[serde(rename = "bm25+minilm")]
    Bm25MiniLm,
}

/// The table `[retrieval]` of a universe. Without it texts are ranked by words alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalConfig {
    /// How texts are ranked.
    pub method: RetrievalMethod,
    /// Source id of the weights, for methods that have some.
    pub weights: Option<String>,
}

/// What a manifest notes about retrieval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalRef {
    /// How texts are ranked.
    pub method: RetrievalMethod,
    /// Digest of what the sections ask for.
    pub queries_sha256: Digest,
    /// The weights, for methods that have some.
    pub weights: Option<WeightsRef>,
}

/// Weights inside a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRef {
    /// The package.
    pub package: PackageRef,
    /// How it is archived.
    pub archive: ArchiveKind,
    /// Role to path inside the archive.
    pub members: BTreeMap<String, String>,
}

/// Weights, in memory from their first use. Cheap to clone; snapshots with the same
/// weights may share them.
#[derive(Debug, Clone)]
pub struct Retriever {
    reference: RetrievalRef,
    weights: Option<Arc<Weights>>,
}

/// The archive that has the weights, and what was made of it.
#[derive(Debug)]
struct Weights {
    method: RetrievalMethod,
    members: BTreeMap<String, String>,
    archive: Archive,
    embedder: OnceLock<Box<dyn Embedder>>,
}

impl RetrievalMethod {
    /// Returns the name in configuration and manifests.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Bm25 => "bm25",
            Self::Bm25Static => "bm25+static",
            Self::Bm25MiniLm => "bm25+minilm",
        }
    }
}

impl RetrievalConfig {
    /// Returns what the manifest of a snapshot of this configuration notes.
    ///
    /// # Errors
    /// Refuses weights that are not listed or licensed, a method without its weights,
    /// and weights without a use.
    pub fn reference(&self, sources: &SourceList) -> Result<RetrievalRef, LakeError> {
        let weights = match (self.method, &self.weights) {
            (RetrievalMethod::Bm25, None) => None,
            (RetrievalMethod::Bm25Static | RetrievalMethod::Bm25MiniLm, Some(id)) => {
                Some(WeightsRef::of(sources.get(id)?))
            }
            (method, _) => {
                let needs =
                    if method == RetrievalMethod::Bm25 { "no" } else { "the source of its" };
                return Err(LakeError::Config {
                    origin: "[retrieval] of the universe".to_owned(),
                    reason: format!("the method {method} takes {needs} weights"),
                });
            }
        };
        Ok(RetrievalRef { method: self.method, queries_sha256: queries_digest(), weights })
    }
}

impl WeightsRef {
    fn of(source: &Source) -> Self {
        Self {
            package: PackageRef {
                name: source.package.clone(),
                version: source.version.clone(),
                sha256: source.sha256,
            },
            archive: source.archive,
            members: source.members.clone(),
        }
    }
}

impl Retriever {
    /// Finds the weights a manifest names in the cache of packages; nothing is fetched.
    /// They are loaded by the first read of texts, which takes some 0.15 s for static
    /// vectors: a read of features alone does without them.
    ///
    /// # Errors
    /// Fails when the package is not there or not the promised one, when this program
    /// was built without the method or with other queries.
    pub fn open(reference: &RetrievalRef, packages: &Path) -> Result<Self, LakeError> {
        let method = reference.method;
        if reference.queries_sha256 != queries_digest() {
            let reason = "it was built for other queries than this program's".to_owned();
            return Err(LakeError::BadSnapshot { path: "manifest.json".into(), reason });
        }
        if method == RetrievalMethod::Bm25MiniLm && cfg!(not(feature = "minilm")) {
            return Err(LakeError::MethodNotBuilt { method: method.key() });
        }
        let weights = match (method, &reference.weights) {
            (RetrievalMethod::Bm25, _) => None,
            (_, None) => {
                let reason = format!("its method {method} lacks weights");
                return Err(LakeError::BadSnapshot { path: "manifest.json".into(), reason });
            }
            (_, Some(WeightsRef { package, archive, members })) => {
                let archive = PackageCache::new(packages).cached(package, *archive)?;
                let (members, embedder) = (members.clone(), OnceLock::new());
                Some(Arc::new(Weights { method, members, archive, embedder }))
            }
        };
        Ok(Self { reference: reference.clone(), weights })
    }

    /// Returns what it was opened for.
    #[must_use]
    pub const fn reference(&self) -> &RetrievalRef {
        &self.reference
    }

    /// Returns what makes vectors of texts, for methods that do. The first call loads it.
    ///
    /// # Errors
    /// Fails when the archive does not hold what the manifest says.
    pub fn embedder(&self) -> Result<Option<&dyn Embedder>, LakeError> {
        self.weights.as_deref().map(Weights::embedder).transpose()
    }
}

impl Weights {
    fn embedder(&self) -> Result<&dyn Embedder, LakeError> {
        if let Some(embedder) = self.embedder.get() {
            return Ok(&**embedder);
        }
        let embedder = self.load()?;
        Ok(&**self.embedder.get_or_init(|| embedder))
    }

    fn load(&self) -> Result<Box<dyn Embedder>, LakeError> {
        let bad =
            |reason: String| LakeError::Archive { path: self.archive.path().to_owned(), reason };
        let read = |role: &str| {
            let member = self.members.get(role);
            let named = member.ok_or_else(|| bad(format!("the manifest names no {role} in it")));
            self.archive.read(named?)
        };
        match self.method {
            #[cfg(feature = "minilm")]
            RetrievalMethod::Bm25MiniLm => {
                let (config, tokenizer) = (read("config")?, read("tokenizer")?);
                let embedder = super::minilm::MiniLm::new(read("weights")?, &config, &tokenizer);
                Ok(Box::new(embedder.map_err(bad)?))
            }
            _ => {
                let embedder = StaticEmbedder::new(&read("weights")?, &read("tokenizer")?);
                Ok(Box::new(embedder.map_err(bad)?))
            }
        }
    }
}

impl fmt::Display for RetrievalMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}
