//! What a tracked file must not be and must not say.
//!
//! The forbidden texts are put together from parts, so that this file obeys
//! its own rules.

/// Largest tracked file.
pub(crate) const MAX_BYTES: u64 = 5 * 1024 * 1024;

/// Adapters that we made; [`MAX_BYTES`] holds for them as for everything.
const ADAPTERS: (&str, &str) = ("models/", ".adapter.gguf");

/// Endings of downloaded data and models: fetched by digest, never committed.
const FORBIDDEN_ENDINGS: [&str; 2] = [".gguf", ".parquet"];

/// Top directories that exist on somebody's machine only; `true` where a
/// user's name has to follow.
const MACHINE_DIRS: [(&str, bool); 4] =
    [("work", false), ("root", false), ("home", true), ("Users", true)];

/// Package registries and distribution mirrors. Packages are named, not hosts:
/// whoever runs the build decides where its clients fetch from.
const REGISTRY_HOSTS: [(&str, &str); 14] = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("crates", "io"),
    ("rustup", "rs"),
    ("static.rust-lang", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("deb.debian", "org"),
    ("security.debian", "org"),
    ("archive.ubuntu", "com"),
    ("security.ubuntu", "com"),
    ("anaconda", "org"),
    ("docker", "io"),
    ("ghcr", "io"),
];

/// The lock file has the registry of each crate in it.
const LOCK_FILE: &str = "Cargo.lock";

/// Returns what is wrong with a file by its name and size.
pub(crate) fn check_blob(path: &str, bytes: u64) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    let is_adapter = path.starts_with(ADAPTERS.0) && path.ends_with(ADAPTERS.1);
    let forbidden = FORBIDDEN_ENDINGS.iter().find(|e| lower.ends_with(*e));
    if let Some(ending) = forbidden.filter(|_| !is_adapter) {
        return Some(format!("{path}: {ending} files are fetched and never tracked"));
    }
    let limit = MAX_BYTES >> 20;
    (bytes > MAX_BYTES).then(|| {
        format!("{path}: {:.1} MiB, more than {limit} MiB", bytes as f64 / f64::from(1 << 20))
    })
}

/// Returns what is wrong with the lines of a text file.
pub(crate) fn check_text(path: &str, text: &str) -> Vec<String> {
    if path == LOCK_FILE || path.ends_with("/Cargo.lock") {
        return Vec::new();
    }
    let hosts = REGISTRY_HOSTS.map(|(name, top)| format!("{name}.{top}"));
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", i + 1);
        if let Some(machine_path) = machine_path(line) {
            found.push(format!("{at}: {machine_path} is a path of one machine"));
        }
        let lower = line.to_ascii_lowercase();
        if let Some(host) = hosts.iter().find(|host| names_host(&lower, host)) {
            found.push(format!("{at}: {host} is a registry's host; name the package instead"));
        }
    }
    found
}

/// Finds the start of an absolute path into a machine's own directories.
fn machine_path(line: &str) -> Option<&str> {
    MACHINE_DIRS.iter().find_map(|(dir, needs_user)| {
        let prefix = format!("/{dir}/");
        line.match_indices(&prefix).find_map(|(start, _)| {
            let before = line[..start].chars().next_back();
            // `target/work/x`, `../work/x` and `$HOME/root/x` are relative.
            let is_relative = before.is_some_and(|c| {
                c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}' | ')' | '*')
            });
            let rest = &line[start + prefix.len()..];
            let user = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
            let is_complete = !needs_user || (user > 0 && rest[user..].starts_with('/'));
            let end = start + prefix.len() + if *needs_user { user } else { 0 };
            (!is_relative && is_complete).then(|| &line[start..end])
        })
    })
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Tells whether a line holds the host or a subdomain of it, and not a longer
/// name that merely contains it.
fn names_host(line: &str, host: &str) -> bool {
    line.match_indices(host).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + host.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '-')
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_models_and_data_are_not_tracked() {
        assert_eq!(check_blob("a.txt", MAX_BYTES), None);
        assert_eq!(
            check_blob("a.txt", MAX_BYTES + 1024 * 1024).as_deref(),
            Some("a.txt: 6.0 MiB, more than 5 MiB")
        );
        assert!(check_blob("models/m.GGUF", 1).is_some());
        assert!(check_blob("data/m.adapter.gguf", 1).is_some());
        assert_eq!(check_blob("models/m.adapter.gguf", 1), None);
        assert!(check_blob("models/m.adapter.gguf", 2 * MAX_BYTES).is_some());
        assert!(check_blob("tests/data/bars.parquet", 1).is_some());
        assert_eq!(check_blob("docs/parquet.md", 1), None);
    }

    #[test]
    fn finds_paths_of_one_machine() {
        // Written without the slash, so that this file passes its own check.
        for (before, path, after) in [
            ("cd ", "work/", "main"),
            ("\"", "root/", ".cargo\""),
            ("PATH=", "home/jane.doe", "/bin"),
            ("file://", "Users/jane", "/x"),
        ] {
            let line = format!("{before}/{path}{after}");
            let expected = format!("/{path}");
            assert_eq!(machine_path(&line), Some(expected.as_str()), "{line}");
        }
    }

    #[test]
    fn relative_paths_and_words_are_fine() {
        for line in [
            format!("target{}work/x", "/"),
            format!("..{}work/x", "/"),
            format!("~{}root/x", "/"),
            format!("$HOME{}root/x", "/"),
            format!("the {}home/ directory", "/"),
            format!("{}home/$USER/x", "/"),
            "rootwork/home".to_owned(),
        ] {
            assert_eq!(machine_path(&line), None, "{line}");
        }
    }

    #[test]
    fn finds_registry_hosts_but_not_package_names() {
        for (name, top) in REGISTRY_HOSTS {
            let line = format!("see https://files.{name}.{}/x", top.to_uppercase());
            assert_eq!(check_text("README.md", &line).len(), 1, "{line}");
            assert!(check_text("Cargo.lock", &line).is_empty());
        }
        let io = "io";
        for line in [format!("mycrates.{io}"), format!("crates.{io}n"), "the crates are".to_owned()]
        {
            assert!(check_text("README.md", &line).is_empty(), "{line}");
        }
    }
}
