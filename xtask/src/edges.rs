//! The dependency table of design 1, and which crate owns which outside crate.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata};

/// Which workspace crates a crate may depend on (normal and build
/// dependencies). Changing it is a decision: see docs/decisions.
const TABLE: [(&str, Allowed); 12] = [
    ("domain", Allowed::Only(&[])),
    ("contract", Allowed::Only(&["domain"])),
    ("lake", Allowed::Only(&["domain"])),
    ("gradients", Allowed::Only(&[])),
    // Adapters are merged where they were trained and where they are fetched.
    ("inference", Allowed::Only(&["domain", "contract", "gradients"])),
    ("backtest", Allowed::Only(&["domain"])),
    ("study", Allowed::Only(&["domain", "contract", "lake", "backtest"])),
    ("server", Allowed::Only(&["domain", "contract", "lake", "inference", "backtest", "study"])),
    ("cli", Allowed::Only(&["domain", "contract", "lake", "inference", "backtest", "study"])),
    ("trainer", {
        Allowed::Only(&["domain", "contract", "lake", "inference", "backtest", "gradients"])
    }),
    ("benches", Allowed::Any),
    ("xtask", Allowed::Only(&[])),
];

/// Which crates alone may name an outside crate, in any kind of dependency. A
/// name that ends in `*` stands for every crate that starts so.
const OWNERS: [(&str, &[&str]); 8] = [
    ("ballista*", &["lake"]),
    ("datafusion*", &["lake"]),
    ("arrow*", &["lake"]),
    ("parquet*", &["lake"]),
    ("object_store*", &["lake"]),
    // The benches give the grammars the model whose tokens they mask.
    ("llama-cpp-*", &["inference", "gradients", "trainer", "benches"]),
    // The lake's is a loopback server its tests fetch from.
    ("hyper*", &["server", "lake"]),
    ("reqwest", &["lake", "trainer"]),
];

/// What a row of [`TABLE`] allows.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Only(&'static [&'static str]),
    Any,
}

/// A workspace crate and what its manifest names.
#[derive(Debug, Default)]
pub(crate) struct Package {
    /// Workspace crates among the normal and build dependencies.
    edges: BTreeSet<String>,
    /// Every crate named in any kind of dependency.
    names: BTreeSet<String>,
}

/// Reads the members of a workspace.
pub(crate) fn packages(metadata: &Metadata) -> BTreeMap<String, Package> {
    let members: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let package = |package: &cargo_metadata::Package| {
        let mut read = Package::default();
        for dependency in &package.dependencies {
            let is_edge = dependency.path.is_some() && members.contains(dependency.name.as_str());
            if is_edge && dependency.kind != DependencyKind::Development {
                read.edges.insert(dependency.name.clone());
            }
            read.names.insert(dependency.name.clone());
        }
        (package.name.to_string(), read)
    };
    metadata.packages.iter().map(package).collect()
}

/// Returns what breaks the table or the ownership, in order of crates.
pub(crate) fn check(packages: &BTreeMap<String, Package>) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, package) in packages {
        match TABLE.iter().find(|(row, _)| row == name) {
            None => violations.push(format!(
                "{name} is not in the dependency table: add its row to xtask/src/edges.rs"
            )),
            Some((_, Allowed::Any)) => {}
            Some((_, Allowed::Only(allowed))) => {
                let forbidden = package.edges.iter().filter(|e| !allowed.contains(&e.as_str()));
                violations.extend(forbidden.map(|edge| {
                    let allowed =
                        if allowed.is_empty() { "nothing".into() } else { allowed.join(", ") };
                    format!("{name} depends on {edge}; the dependency table allows {allowed}")
                }));
            }
        }
        for dependency in &package.names {
            if let Some(owners) = owners(dependency).filter(|o| !o.contains(&name.as_str())) {
                let owners = owners.join(" and ");
                violations.push(format!("{name} names {dependency}; only {owners} may"));
            }
        }
    }
    violations
}

fn owners(dependency: &str) -> Option<&'static [&'static str]> {
    let stands_for = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => dependency.starts_with(start),
        None => dependency == pattern,
    };
    OWNERS.iter().find(|(pattern, _)| stands_for(pattern)).map(|(_, owners)| *owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, edges: &[&str], names: &[&str]) -> Vec<String> {
        let set = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect();
        let package = Package { edges: set(edges), names: set(names) };
        check(&BTreeMap::from([(name.to_owned(), package)]))
    }

    #[test]
    fn allows_what_the_table_allows() {
        assert!(check_one("domain", &[], &["serde"]).is_empty());
        assert!(check_one("server", &["domain", "lake"], &["hyper", "hyper-util"]).is_empty());
        assert!(check_one("benches", &["lake", "inference", "server"], &["criterion"]).is_empty());
        assert!(check_one("lake", &["domain"], &["datafusion", "parquet"]).is_empty());
        assert!(check_one("inference", &["contract"], &["llama-cpp-sys-2"]).is_empty());
    }

    #[test]
    fn refuses_an_edge_that_is_not_in_the_table() {
        for (name, edge) in [
            ("domain", "contract"),
            ("contract", "lake"),
            ("lake", "contract"),
            ("inference", "lake"),
            ("backtest", "lake"),
            ("cli", "server"),
            ("xtask", "domain"),
        ] {
            let found = check_one(name, &[edge], &[]);
            assert_eq!(found.len(), 1, "{name} -> {edge}: {found:?}");
            assert!(found[0].starts_with(&format!("{name} depends on {edge}")), "{found:?}");
        }
    }

    #[test]
    fn refuses_a_crate_without_a_row() {
        assert!(check_one("utils", &[], &[])[0].contains("not in the dependency table"));
    }

    #[test]
    fn an_outside_crate_has_one_owner() {
        for (name, dependency, owner) in [
            ("cli", "datafusion-common", "lake"),
            ("server", "arrow", "lake"),
            ("benches", "parquet", "lake"),
            ("cli", "llama-cpp-2", "inference and gradients and trainer and benches"),
            ("inference", "hyper-util", "server and lake"),
            ("cli", "reqwest", "lake and trainer"),
        ] {
            let text = format!("{name} names {dependency}; only {owner} may");
            assert_eq!(check_one(name, &[], &[dependency]), [text]);
        }
    }
}
