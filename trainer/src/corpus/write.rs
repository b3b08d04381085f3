//! The files of a corpus: written beside their place, then renamed; and read back.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use domain::Digest;
use gradients::{directory_of, write_atomically};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    example::{Example, Stage},
    split::{Part, division},
};
use crate::{
    config::{ConfigArgs, RunConfig},
    run::digest_of,
};

/// The name of the manifest.
const MANIFEST: &str = "corpus.json";
/// The name of the configuration.
pub(super) const CONFIG: &str = "config.yaml";

/// What a corpus was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorpusManifest {
    /// Digest of the contract whose prompts and grammars it has.
    pub(crate) contract_digest: Digest,
    /// Seed.
    pub(crate) seed: u64,
    /// Snapshots by universe.
    pub(crate) snapshots: BTreeMap<String, Digest>,
    /// Selection bias of the universes, to be stated in every report.
    pub(crate) biases: BTreeMap<String, String>,
    /// Files by path, with examples or none and their digest.
    pub(crate) files: BTreeMap<String, FileEntry>,
}

/// One file of a corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    /// Examples in it; none of a page.
    pub(crate) examples: Option<u64>,
    /// SHA-256.
    pub(crate) sha256: Digest,
}

/// Writes a corpus. Dropped before [`CorpusWriter::finish`], it leaves nothing.
pub(crate) struct CorpusWriter {
    out: PathBuf,
    temp: TempDir,
    stages: BTreeMap<(Part, Stage), (BufWriter<File>, u64)>,
    pages: Vec<String>,
}

impl CorpusWriter {
    /// Begins a directory beside `out`.
    pub(crate) fn new(out: &Path) -> anyhow::Result<Self> {
        let parent = directory_of(out);
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let temp = tempfile::Builder::new()
            .prefix(".corpus-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot create a directory in {}", parent.display()))?;
        let mut stages = BTreeMap::new();
        for part in Part::ALL {
            fs::create_dir(temp.path().join(part.key()))?;
            for stage in Stage::ALL {
                let file = File::create(temp.path().join(stage_path(part, stage)))?;
                stages.insert((part, stage), (BufWriter::new(file), 0));
            }
        }
        Ok(Self { out: out.to_owned(), temp, stages, pages: Vec::new() })
    }

    /// Appends an example to the file of its part and stage.
    pub(crate) fn write(&mut self, part: Part, example: &Example) -> anyhow::Result<()> {
        let entry = self.stages.get_mut(&(part, example.stage));
        let (file, examples) = entry.context("each part has all stages")?;
        serde_json::to_writer(&mut *file, example)?;
        file.write_all(b"\n")?;
        *examples += 1;
        Ok(())
    }

    /// Writes a page.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.temp.path().join(name), text)?;
        self.pages.push(name.to_owned());
        Ok(())
    }

    /// Writes the manifest and puts the directory in its place.
    pub(crate) fn finish(
        self,
        seed: u64,
        snapshots: BTreeMap<String, Digest>,
        biases: BTreeMap<String, String>,
        replace: bool,
    ) -> anyhow::Result<()> {
        let Self { out, temp, stages, pages } = self;
        let mut files = BTreeMap::new();
        for ((part, stage), (file, examples)) in stages {
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            let path = stage_path(part, stage);
            let sha256 = digest_of(&temp.path().join(&path))?;
            files.insert(path, FileEntry { examples: Some(examples), sha256 });
        }
        for page in pages {
            let sha256 = digest_of(&temp.path().join(&page))?;
            files.insert(page, FileEntry { examples: None, sha256 });
        }
        let contract_digest = contract::contract_digest();
        let manifest = CorpusManifest { contract_digest, seed, snapshots, biases, files };
        let text = serde_json::to_string_pretty(&manifest)? + "\n";
        write_atomically(&temp.path().join(MANIFEST), text.as_bytes())?;
        let whole = temp.keep();
        place(&whole, &out, replace)
            .inspect_err(|_| drop(fs::remove_dir_all(&whole)))
            .with_context(|| format!("cannot put the corpus in its place, {}", out.display()))
    }
}

/// Tells whether a path is a corpus, as far as its manifest is there.
pub(super) fn is_corpus(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

/// Renames a directory to its place; what was there goes away only after that.
fn place(whole: &Path, out: &Path, replace: bool) -> anyhow::Result<()> {
    if !(replace && out.exists()) {
        return Ok(fs::rename(whole, out)?);
    }
    let old = whole.with_extension("old");
    fs::rename(out, &old)?;
    fs::rename(whole, out)?;
    Ok(fs::remove_dir_all(&old)?)
}

fn stage_path(part: Part, stage: Stage) -> String {
    format!("{}/{}.jsonl", part.key(), stage.key())
}

/// A corpus that is there.
#[derive(Debug)]
pub(crate) struct Corpus {
    path: PathBuf,
    manifest: CorpusManifest,
}

impl Corpus {
    /// Opens a corpus that was made for this program's contract.
    ///
    /// # Errors
    /// Says what it is instead.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let manifest = path.join(MANIFEST);
        let text = fs::read_to_string(&manifest).with_context(|| {
            format!("{} is not a corpus; make one with `r2r-trainer corpus`", path.display())
        })?;
        let manifest: CorpusManifest = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a manifest of a corpus", manifest.display()))?;
        ensure!(
            manifest.contract_digest == contract::contract_digest(),
            "{} was made for another contract than this program's: prompts or phrases have \
             changed, so make it anew",
            path.display()
        );
        Ok(Self { path: path.to_owned(), manifest })
    }

    /// Returns what it was made of.
    pub(crate) const fn manifest(&self) -> &CorpusManifest {
        &self.manifest
    }

    /// Returns what decides its dates, after checking that `config` says the same.
    ///
    /// # Errors
    /// Names the configuration it was made with.
    pub(crate) fn division(&self, config: &RunConfig) -> anyhow::Result<Value> {
        let made_with = self.file(CONFIG)?;
        let args = ConfigArgs { config: made_with.display().to_string(), sets: Vec::new() };
        let snapshots = &self.manifest.snapshots;
        let own = division(config, snapshots);
        ensure!(
            division(&args.load()?, snapshots) == own,
            "the corpus was made with another `data` or `split` than this run has, so that dates \
             held out by one would be trained on by the other: take those of {}",
            made_with.display()
        );
        Ok(own)
    }

    /// Reads the examples of a part and stage.
    ///
    /// # Errors
    /// Names the file, and the line that is not an example.
    pub(crate) fn examples(&self, part: Part, stage: Stage) -> anyhow::Result<Vec<Example>> {
        let path = self.file(&stage_path(part, stage))?;
        let lines = BufReader::new(File::open(&path)?).lines();
        let parse = |(i, line): (usize, std::io::Result<String>)| {
            let example = serde_json::from_str(&line?);
            example.with_context(|| format!("{}:{} is not an example", path.display(), i + 1))
        };
        lines.enumerate().map(parse).collect()
    }

    /// Returns the path of a file that is the one the manifest names.
    fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let (path, entry) = (self.path.join(name), self.manifest.files.get(name));
        let entry = entry
            .with_context(|| format!("{name} is not in {}", self.path.join(MANIFEST).display()))?;
        ensure!(
            digest_of(&path)? == entry.sha256,
            "{} is not the file its manifest names: make the corpus anew",
            path.display()
        );
        Ok(path)
    }
}
