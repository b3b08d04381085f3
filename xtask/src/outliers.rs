//! Long files and long functions: printed, not forbidden.

use syn::visit::Visit;

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// Endings of files that people write line by line.
const SOURCE_ENDINGS: [&str; 5] = [".rs", ".py", ".sh", ".js", ".ts"];

/// Returns the outliers of one file.
pub(crate) fn find(path: &str, text: &str) -> Vec<String> {
    if !SOURCE_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        found.push(format!("{path}: {lines} lines, more than {MAX_FILE_LINES}"));
    }
    // What does not parse is the compiler's to report.
    if let (true, Ok(file)) = (path.ends_with(".rs"), syn::parse_file(text)) {
        let mut long = LongFunctions { path, found: &mut found };
        long.visit_file(&file);
    }
    found
}

struct LongFunctions<'a> {
    path: &'a str,
    found: &'a mut Vec<String>,
}

impl LongFunctions<'_> {
    /// Counts from the signature to the closing brace, so that documentation
    /// costs nothing.
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let start = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line + 1 - start;
        if lines > MAX_FUNCTION_LINES {
            let (path, name) = (self.path, &signature.ident);
            self.found.push(format!(
                "{path}:{start}: fn {name} has {lines} lines, more than {MAX_FUNCTION_LINES}"
            ));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        // The signature and the closing brace are two of them.
        format!("/// Documented.\nfn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_is_long_from_71_lines_on() {
        assert!(find("a.rs", &function(70)).is_empty());
        assert_eq!(find("a.rs", &function(71)), ["a.rs:2: fn long has 71 lines, more than 70"]);
    }

    #[test]
    fn methods_and_default_methods_count() {
        let body = function(80);
        let found = find("a.rs", &format!("impl A {{\n{body}}}\ntrait B {{\n{body}}}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_file_is_long_from_501_lines_on() {
        assert!(find("a.py", &"x\n".repeat(500)).is_empty());
        assert_eq!(find("a.py", &"x\n".repeat(501)), ["a.py: 501 lines, more than 500"]);
        assert!(find("data.json", &"x\n".repeat(501)).is_empty());
    }
}
