//! The list of live providers, `configs/providers.toml`.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path};

use serde::Deserialize;

use super::Adapter;
use crate::{Embargo, Entitlement, LakeError};

/// A provider that may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Name of the table, e.g. `yahoo`; also its folder in the archive.
    #[serde(skip)]
    pub id: String,
    /// Form of its requests and answers.
    pub adapter: Adapter,
    /// A person's name for it.
    pub title: String,
    /// Where its paths begin, without a slash at the end.
    pub base_url: String,
    /// Where the paths of its files begin, where that is another host.
    pub files_url: Option<String>,
    /// Path and query of a feed; `{symbol}` stands for what it calls the company.
    pub path: Option<String>,
    /// Licence or terms of use.
    #[serde(default)]
    pub licence: String,
    /// Whether its content may be published along with a snapshot.
    pub redistributable: bool,
    /// Who may know its content; none is as good as [`Entitlement::Restricted`].
    pub entitlement: Option<Entitlement>,
    /// Until when nobody may know a record.
    pub embargo: Option<Embargo>,
    /// What a reviewer has to know.
    #[serde(default)]
    pub note: String,
    /// Upper bound of requests a minute.
    pub requests_per_minute: NonZeroU32,
    /// How many of them may follow each other at once.
    pub burst: NonZeroU32,
    /// Requests under way at the same time.
    pub concurrent: NonZeroU32,
    /// Age below which an answer is not asked for again.
    pub fresh_hours: u32,
    /// Longest time of one request.
    pub timeout_s: u32,
    /// Largest body.
    pub body_mib_max: u32,
    /// Environment variable of the API key, where one is needed.
    pub key_env: Option<String>,
    /// Refuse to call it without a name and e-mail address in the User-Agent.
    #[serde(default)]
    pub needs_contact: bool,
}

/// The providers that may be asked.
#[derive(Debug, Clone)]
pub struct ProviderList {
    origin: String,
    providers: BTreeMap<String, Provider>,
}

impl ProviderList {
    /// Returns the list this crate was built with, `configs/providers.toml`.
    ///
    /// # Errors
    /// Fails when the file is not valid, which a test excludes.
    pub fn builtin() -> Result<Self, LakeError> {
        Self::parse("configs/providers.toml", include_str!("../../../../configs/providers.toml"))
    }

    /// Reads a list from a file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, LakeError> {
        let text = std::fs::read_to_string(path).map_err(LakeError::io("read", path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Parses a list; `origin` names it in errors. Unknown keys are refused.
    ///
    /// # Errors
    /// Fails on anything that is not a list of providers.
    pub fn parse(origin: &str, text: &str) -> Result<Self, LakeError> {
        let invalid = |reason| LakeError::Config { origin: origin.to_owned(), reason };
        let mut providers: BTreeMap<String, Provider> =
            toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        for (id, provider) in &mut providers {
            // The id becomes the name of a directory.
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if id.is_empty() || !id.chars().all(is_name) {
                return Err(invalid(format!("[{id}]: a provider's id has only a-z, 0-9 and -")));
            }
            id.clone_into(&mut provider.id);
            for url in [Some(&provider.base_url), provider.files_url.as_ref()].into_iter().flatten()
            {
                check_base_url(url).map_err(|reason| invalid(format!("[{id}]: {reason}")))?;
            }
            if (provider.adapter == Adapter::Feed) != provider.path.is_some() {
                return Err(invalid(format!(
                    "[{id}]: `path` goes with adapter = \"feed\", and only with it"
                )));
            }
            if provider.timeout_s == 0 || provider.body_mib_max == 0 {
                return Err(invalid(format!("[{id}]: timeout_s and body_mib_max must be above 0")));
            }
        }
        Ok(Self { origin: origin.to_owned(), providers })
    }

    /// Returns a provider that may be asked.
    ///
    /// # Errors
    /// Refuses a provider that is not listed, states no licence, or that this program is
    /// not entitled to.
    pub fn get(&self, id: &str) -> Result<&Provider, LakeError> {
        let origin = self.origin.clone();
        let Some(provider) = self.providers.get(id) else {
            let known: Vec<&str> = self.providers.keys().map(String::as_str).collect();
            let (id, known) = (id.to_owned(), known.join(", "));
            return Err(LakeError::UnlistedProvider { id, origin, known });
        };
        if provider.licence.trim().is_empty() {
            return Err(LakeError::UnlicensedProvider { id: id.to_owned(), origin });
        }
        Entitlement::check(provider.entitlement).map_err(|reason| LakeError::NotEntitled {
            id: id.to_owned(),
            origin,
            reason,
        })?;
        Ok(provider)
    }

    /// Returns all listed providers, licensed or not, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }
}

/// Tells what is wrong with the beginning of a provider's addresses. Plain http
/// is for servers of one's own on this machine: a key must not cross a network bare.
pub(super) fn check_base_url(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|e| format!("base URL {text:?}: {e}"))?;
    let is_local = is_loopback(&url);
    if url.scheme() != "https" && !(url.scheme() == "http" && is_local) {
        return Err(format!(
            "base URL {text:?} must begin with https://, or http:// for 127.0.0.1, [::1] and localhost"
        ));
    }
    let is_plain = url.query().is_none() && url.fragment().is_none();
    let has_login = !url.username().is_empty() || url.password().is_some();
    if !is_plain || has_login || text.ends_with('/') {
        return Err(format!(
            "base URL {text:?} must be a scheme, a host and perhaps a path, without login, query or a slash at the end"
        ));
    }
    Ok(())
}

/// Tells whether a URL stays on this machine.
pub(super) fn is_loopback(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_list_is_valid_and_licensed() {
        let list = ProviderList::builtin().unwrap();
        assert!(list.iter().count() >= 3);
        for provider in list.iter() {
            assert!(list.get(&provider.id).is_ok(), "{}", provider.id);
            assert!(provider.base_url.starts_with("https://"), "{}", provider.id);
        }
    }

    #[test]
    fn unlisted_unlicensed_and_misspelt_providers_are_refused() {
        let text = include_str!("../../../../configs/providers.toml");
        let list = ProviderList::parse("p.toml", text).unwrap();
        let error = list.get("yaho").unwrap_err().to_string();
        assert!(error.contains("p.toml") && error.contains("yahoo"), "{error}");

        let bare = text.replace("licence = \"Yahoo Terms of Service (personal use)\"", "");
        let error = ProviderList::parse("p.toml", &bare).unwrap().get("yahoo").unwrap_err();
        assert!(error.to_string().contains("has no licence"), "{error}");
        let restricted = text.replace("entitlement = \"licensed\"", "entitlement = \"restricted\"");
        let error = ProviderList::parse("p.toml", &restricted).unwrap().get("yahoo").unwrap_err();
        assert!(error.to_string().starts_with("\"yahoo\" in p.toml is restricted"), "{error}");

        for (from, to) in [
            ("timeout_s = 120", "timeout = 120"),
            ("timeout_s = 120", "timeout_s = 0"),
            ("[stooq]", "[\"../stooq\"]"),
            ("adapter = \"fred\"", "adapter = \"alfred\""),
            ("requests_per_minute = 120", "requests_per_minute = 0"),
            ("https://stooq.com", "http://stooq.com"),
            ("https://stooq.com", "https://me:secret@stooq.com"),
            ("https://stooq.com", "https://stooq.com/"),
        ] {
            let error = ProviderList::parse("p.toml", &text.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, LakeError::Config { .. }), "{to}: {error}");
        }
    }
}
