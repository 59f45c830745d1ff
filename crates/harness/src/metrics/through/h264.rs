//! H.264 by the program `ffmpeg`, if there is one: its library is C and assembler, which this project does not build.

use anyhow::{Context, Result, anyhow, ensure};
use std::io::Write;
use std::process::{Command, Stdio};

const PROGRAM: &str = "ffmpeg";

/// A clip as libx264 keeps it. `// [t, h, w, 3] -> [t, h, w, 3]`
///
/// With ffmpeg's own settings but for the CRF, as imageio calls it, and one thread: libx264's bits depend on their number.
///
/// # Errors
/// If the program is not there or fails; the error holds what it says.
pub fn coded(bytes: &[u8], [count, height, width]: [usize; 3], fps: u16, crf: u8) -> Result<Vec<u8>> {
    let (size, rate) = (format!("{width}x{height}"), fps.to_string());
    let raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"];
    // NUT can be written to a pipe and keeps time exactly: no frame is dropped or shown twice.
    let code = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1", "-f", "nut"];
    let encode = [&raw[..], &["-s", &size, "-r", &rate, "-i", "pipe:0"], &code];
    let stream = piped(
        &[&encode.concat()[..], &["-crf", &crf.to_string(), "pipe:1"]].concat(),
        bytes,
    )?;
    let decoded = piped(
        &[&["-f", "nut", "-i", "pipe:0"], &raw[..], &["pipe:1"]].concat(),
        &stream,
    )?;
    ensure!(
        decoded.len() == bytes.len(),
        "{PROGRAM} was given {count} frames of {height}×{width}, {} bytes, and gave back {}",
        bytes.len(),
        decoded.len()
    );
    Ok(decoded)
}

/// `ffmpeg 5.1.9`; none where it is not there.
pub fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "version");
    Some(format!("{PROGRAM} {}", words.nth(1)?))
}

/// What the program makes of `input`, from pipe to pipe.
fn piped(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(PROGRAM);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    let command = command.args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context(
        "cannot run the program `ffmpeg`: install it, with libx264, where PATH leads, or measure through 8-bit, or \
         straight from the decoder",
    )?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let output = std::thread::scope(|scope| {
        // It may answer before it has read all, and wait until that is taken. If it stops reading, it says why.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output()
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{PROGRAM} failed: {}", said.trim().replace('\n', "; ")))
}
