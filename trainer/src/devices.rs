//! `r2r-trainer devices`.

use gradients::ggml::Device;

/// Prints one device a line.
pub(crate) fn run() -> anyhow::Result<()> {
    for device in Device::all() {
        let (free, total) = device.memory();
        anstream::println!(
            "{:8} {:3} {} ({:.1} of {:.1} GiB free)",
            device.name(),
            device.kind().name(),
            device.description(),
            gib(free),
            gib(total)
        );
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn gib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
