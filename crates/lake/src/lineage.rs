//! Lineage: where a feature, a read's evidence or a thesis comes from, down to the bytes
//! of an archive.
//!
//! ```text
//! source -> archive -> member -> file -> table -> view -> feature -> evidence -> claim -> thesis
//!                                  file -> record ----------------->
//! ```
//!
//! Nothing here is written by hand: files, members and digests stand in the manifest, and
//! what a feature reads is asked of the plan that computes it.

mod evidence;
mod render;

use std::collections::{BTreeMap, BTreeSet};

use domain::{AsOf, Digest, Ticker};

pub use self::evidence::{Citation, Cited};
use crate::{
    DataSource, FeatureInfo, Kind, LakeError, Manifest,
    engine::Engine,
    features::{VIEW_FILES, cited_features},
    records,
    scan::Reads,
    tables::Tables,
};

/// What a node of a lineage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// An entry of the allowlist.
    Source,
    /// A package with version, digest and licence.
    Archive,
    /// A file in a package.
    Member,
    /// A Parquet file of the snapshot.
    File,
    /// All records of a kind.
    Table,
    /// A query that features share.
    View,
    /// A feature file.
    Feature,
    /// How texts are ranked.
    Retrieval,
    /// A record.
    Record,
    /// An item of a read's catalogue.
    Evidence,
    /// A claim of a thesis.
    Claim,
    /// A thesis.
    Thesis,
}

impl NodeKind {
    /// Returns the name in outputs.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Archive => "archive",
            Self::Member => "member",
            Self::File => "file",
            Self::Table => "table",
            Self::View => "view",
            Self::Feature => "feature",
            Self::Retrieval => "retrieval",
            Self::Record => "record",
            Self::Evidence => "evidence",
            Self::Claim => "claim",
            Self::Thesis => "thesis",
        }
    }
}

/// A node of a lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageNode {
    /// Kind and name, unique in the graph: `table:facts`.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// How a person calls it.
    pub label: String,
    /// What else is known of it, by key.
    pub details: Vec<(&'static str, String)>,
}

/// A graph of where things come from. An input of a node is what it is made of.
#[derive(Debug, Clone)]
pub struct Lineage {
    snapshot: Digest,
    nodes: Vec<LineageNode>,
    /// Of each node its inputs, and which columns of them where that is known.
    inputs: Vec<BTreeMap<usize, BTreeSet<String>>>,
    /// What was asked for.
    roots: Vec<usize>,
}

/// Which files are of interest: those of one ticker until one date, or all.
#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    ticker: &'a Ticker,
    as_of: AsOf,
}

/// A lineage under construction.
struct Builder<'a> {
    manifest: &'a Manifest,
    scope: Option<Scope<'a>>,
    views: BTreeMap<String, Reads>,
    graph: Lineage,
    index: BTreeMap<String, usize>,
}

impl Lineage {
    /// Returns where features come from; where none is named, all that a thesis of the
    /// snapshot may cite, and all kinds of its records. Reads no record.
    ///
    /// # Errors
    /// Fails on an unknown feature, and where the snapshot was built for another version
    /// of it.
    pub async fn of_features(manifest: &Manifest, names: &[String]) -> Result<Self, LakeError> {
        let features = if names.is_empty() {
            cited_features()?
        } else {
            names.iter().map(|name| FeatureInfo::find(name)).collect::<Result<_, _>>()?
        };
        for feature in features.iter().filter(|feature| feature.evidence) {
            if !manifest.features.contains(&feature.reference()) {
                return Err(LakeError::BadSnapshot {
                    path: manifest.hash.short().into(),
                    reason: format!("it was built for another version of {}", feature.name),
                });
            }
        }
        let batches = Kind::ALL.into_iter().map(|kind| Ok((kind, records::empty(kind)?)));
        let tables = Tables::new(batches.collect::<Result<_, LakeError>>()?)?;
        let engine = Engine::new(&tables, features.clone()).await?;
        let mut builder = Builder::new(manifest, &engine, None)?;
        for feature in &features {
            let node = builder.feature(feature, &engine.reads(feature).await?);
            builder.graph.roots.push(node);
        }
        if names.is_empty() {
            for kind in Kind::ALL {
                let is_known = builder.index.contains_key(&id(NodeKind::Table, kind.table()));
                let is_there = manifest.source(kind).is_some_and(|source| source.record_count > 0);
                if is_there && !is_known {
                    let node = builder.table(kind);
                    builder.graph.roots.push(node);
                }
            }
        }
        Ok(builder.graph)
    }

    /// Returns the nodes; an edge goes from `nodes()[i]` to what is made of it.
    #[must_use]
    pub fn nodes(&self) -> &[LineageNode] {
        &self.nodes
    }

    /// Returns the edges as ids: input, what is made of it, columns.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<String>)> {
        self.inputs.iter().enumerate().flat_map(move |(to, inputs)| {
            inputs.iter().map(move |(from, columns)| {
                (self.nodes[*from].id.as_str(), self.nodes[to].id.as_str(), columns)
            })
        })
    }

    /// Returns the nodes of a kind that a node is made of, directly or through others.
    #[must_use]
    pub fn origins(&self, id: &str, kind: NodeKind) -> Vec<&LineageNode> {
        let start = self.nodes.iter().position(|node| node.id == id);
        let (mut open, mut seen) = (Vec::from_iter(start), BTreeSet::new());
        while let Some(node) = open.pop() {
            if seen.insert(node) {
                open.extend(self.inputs[node].keys());
            }
        }
        let found = seen.into_iter().map(|node| &self.nodes[node]);
        found.filter(|node| node.kind == kind).collect()
    }
}

impl<'a> Builder<'a> {
    fn new(
        manifest: &'a Manifest,
        engine: &Engine,
        scope: Option<Scope<'a>>,
    ) -> Result<Self, LakeError> {
        let views = engine.view_reads()?.into_iter();
        let views = views.map(|(name, reads)| (name.to_owned(), reads)).collect();
        let graph = Lineage {
            snapshot: manifest.hash,
            nodes: Vec::new(),
            inputs: Vec::new(),
            roots: Vec::new(),
        };
        Ok(Self { manifest, scope, views, graph, index: BTreeMap::new() })
    }

    /// Returns a node by its id, and whether it is new.
    fn node(&mut self, kind: NodeKind, name: &str, label: String) -> (usize, bool) {
        let id = id(kind, name);
        if let Some(known) = self.index.get(&id) {
            return (*known, false);
        }
        let node = self.graph.nodes.len();
        self.index.insert(id.clone(), node);
        self.graph.nodes.push(LineageNode { id, kind, label, details: Vec::new() });
        self.graph.inputs.push(BTreeMap::new());
        (node, true)
    }

    fn details(&mut self, node: usize, details: impl IntoIterator<Item = (&'static str, String)>) {
        self.graph.nodes[node].details.extend(details);
    }

    fn link(&mut self, from: usize, to: usize, columns: &BTreeSet<String>) {
        self.graph.inputs[to].entry(from).or_default().extend(columns.iter().cloned());
    }

    fn feature(&mut self, feature: &FeatureInfo, reads: &Reads) -> usize {
        let label = format!("{}: {}", feature.name, feature.title);
        let (node, is_new) = self.node(NodeKind::Feature, &feature.name, label);
        if is_new {
            self.details(
                node,
                [
                    ("section", feature.section.key().to_owned()),
                    ("formula", feature.formula.clone()),
                    ("sql_file", feature.file.clone()),
                    ("sql_sha256", feature.reference().sha256.to_string()),
                    ("sql", feature.sql.clone()),
                ],
            );
            self.link_reads(node, reads);
        }
        node
    }

    fn link_reads(&mut self, node: usize, reads: &Reads) {
        for (name, columns) in reads {
            let input = match Kind::ALL.into_iter().find(|kind| kind.table() == name) {
                Some(kind) => self.table(kind),
                None => self.view(name),
            };
            self.link(input, node, columns);
        }
    }

    fn view(&mut self, name: &str) -> usize {
        let (node, is_new) = self.node(NodeKind::View, name, name.to_owned());
        if is_new {
            let file = format!("{name}.sql");
            let sql = VIEW_FILES.iter().find(|(known, _)| *known == file);
            let sql = sql.map(|(_, sql)| *sql).unwrap_or_default();
            let digest = Digest::of(sql).to_string();
            self.details(node, [("sql_file", file), ("sql_sha256", digest)]);
            if let Some(reads) = self.views.get(name).cloned() {
                self.link_reads(node, &reads);
            }
        }
        node
    }

    fn table(&mut self, kind: Kind) -> usize {
        let (node, is_new) = self.node(NodeKind::Table, kind.table(), kind.table().to_owned());
        if is_new {
            let manifest = self.manifest;
            let sources = manifest.data_sources.iter();
            let files: Vec<&DataSource> = sources
                .filter(|source| source.source_type == kind && self.is_in_scope(source))
                .collect();
            let records: u64 = files.iter().map(|file| file.record_count).sum();
            self.details(node, [("records", records.to_string())]);
            for file in files {
                let file = self.file(file);
                self.link(file, node, &BTreeSet::new());
            }
        }
        node
    }

    fn is_in_scope(&self, source: &DataSource) -> bool {
        let Some(Scope { ticker, as_of }) = self.scope else { return true };
        let is_of_ticker = !source.source_type.has_ticker() || source.tickers.contains(ticker);
        let last = chrono::Datelike::year(&as_of.date());
        is_of_ticker && source.known_year.is_some_and(|year| year <= last)
    }

    fn file(&mut self, source: &DataSource) -> usize {
        let name = source.file_hash.to_string();
        let (node, is_new) = self.node(NodeKind::File, &name, source.file_path.clone());
        if is_new {
            let year = source.known_year.map_or("none".to_owned(), |year| year.to_string());
            self.details(
                node,
                [
                    ("known_year", year),
                    ("records", source.record_count.to_string()),
                    ("sha256", name),
                ],
            );
            for member in self.members(source) {
                let member = self.member(source, &member);
                self.link(member, node, &BTreeSet::new());
            }
        }
        node
    }

    /// Returns the members that the records of interest come from: of a source with a
    /// file per name that of the ticker.
    fn members(&self, source: &DataSource) -> Vec<String> {
        let ticker = self.scope.map(|scope| scope.ticker);
        let names = &self.manifest.universe.names;
        let name = ticker.and_then(|ticker| names.iter().find(|name| name.ticker == *ticker));
        let symbol = name.and_then(|name| name.symbols.get(source.source_type.key()));
        let is_named = |member: &&String| {
            let stem = member.rsplit('/').next().and_then(|file| file.split('.').next());
            symbol.is_some_and(|symbol| stem == Some(symbol.as_str()))
        };
        let named: Vec<String> = source.members.iter().filter(is_named).cloned().collect();
        if named.is_empty() { source.members.clone() } else { named }
    }

    fn member(&mut self, source: &DataSource, member: &str) -> usize {
        let package = &source.package;
        let name = format!("{}@{}#{member}", package.name, package.version);
        let (node, is_new) = self.node(NodeKind::Member, &name, member.to_owned());
        if is_new {
            let archive = self.archive(source);
            self.link(archive, node, &BTreeSet::new());
        }
        node
    }

    fn archive(&mut self, source: &DataSource) -> usize {
        let package = &source.package;
        let label = format!("{} {}", package.name, package.version);
        let name = package.sha256.to_string();
        let (node, is_new) = self.node(NodeKind::Archive, &name, label);
        if is_new {
            self.details(
                node,
                [
                    ("sha256", name),
                    ("licence", source.licence.clone()),
                    ("redistributable", source.redistributable.to_string()),
                ],
            );
        }
        let id = &source.source_id;
        let (listed, _) = self.node(NodeKind::Source, id, id.clone());
        self.link(listed, node, &BTreeSet::new());
        node
    }
}

fn id(kind: NodeKind, name: &str) -> String {
    format!("{}:{name}", kind.key())
}
