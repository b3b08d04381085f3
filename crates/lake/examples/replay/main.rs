//! Serves recorded answers of providers on the loopback, for trying out fetching
//! without the provider:
//!
//! ```text
//! cargo run --release -p lake --example replay -- --dir crates/lake/tests/data/providers --port 8099
//! r2r data fetch yahoo AAPL --base-url http://127.0.0.1:8099
//! ```

#![allow(clippy::print_stdout, reason = "a command talks to its terminal")]

mod server;

use std::{error::Error, path::PathBuf, sync::PoisonError, time::Duration};

use tokio::net::TcpListener;

use self::server::{Replay, Script};

const USAGE: &str = "usage: replay --dir DIRECTORY [--port PORT]\n  DIRECTORY holds replay.toml and \
                     the files it names; without a port a free one is taken";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut dir, mut port) = (None, 0u16);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match &*name {
            "--dir" => dir = Some(PathBuf::from(value)),
            "--port" => port = value.parse().map_err(|_| USAGE)?,
            _ => return Err(USAGE.into()),
        }
    }
    let dir = dir.ok_or(USAGE)?;
    let path = dir.join("replay.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let script: Script = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("replaying {} on http://{}", dir.display(), listener.local_addr()?);
    let replay = Replay::new(&dir, script);
    let server = tokio::spawn(replay.clone().serve(listener));
    // What came is shown as it comes; nothing else looks at the list.
    while !server.is_finished() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let seen = std::mem::take(&mut *replay.seen.lock().unwrap_or_else(PoisonError::into_inner));
        for request in seen {
            let agent = request.headers.get("user-agent").map_or("-", String::as_str);
            println!("{} [{agent}]", request.target);
        }
    }
    server.await??;
    Ok(())
}
