//! What the caller reads: lines on stdout, and errors with a hint and an exit code.

use clap::Command;
use onestep::{Code, Error, Result};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Cancelled by Ctrl-C, as shells number it.
pub const CANCELLED: u8 = 130;

/// Writes text and a newline to stdout; unlike `println!` a closed pipe is an error and no panic.
pub fn print(text: impl std::fmt::Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(stdout_error)
}

/// Writes a line for a person to stderr; a closed stderr is no reason to fail.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says what there is to know of a model.
pub fn say_notes(notes: &[String]) {
    notes.iter().for_each(|note| say(format!("note: {note}")));
}

/// An error of writing to stdout.
pub fn stdout_error(source: std::io::Error) -> Error {
    Error::Io { path: "stdout".into(), source }
}

/// An error of reading or writing `path`.
pub fn io_error(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.into(), source }
}

/// An argument that makes no sense: exit code 2.
pub fn usage(argument: &'static str, message: impl Into<String>) -> Error {
    Error::InvalidArgument { argument, message: message.into() }
}

/// Prints `error: ...` with a hint where one helps; the exit code. Arguments are named as flags where `command` has them.
pub fn failure(error: &Error, command: &Command) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let mut text = match error {
        Error::InvalidArgument { argument, message } if has_flag(command, argument) => {
            format!("error: --{}: {message}\n", argument.replace('_', "-"))
        }
        _ => format!("error: {error}\n"),
    };
    if let Some(hint) = hint(error) {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // Nothing is left to do where stderr itself is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    match error.code() {
        Code::InvalidArgument => ExitCode::from(2),
        Code::Cancelled => ExitCode::from(CANCELLED),
        _ => ExitCode::FAILURE,
    }
}

/// Whether a command has a flag of this name.
fn has_flag(command: &Command, argument: &str) -> bool {
    let name = argument.replace('_', "-");
    command.get_arguments().any(|arg| {
        arg.get_long() == Some(&name) || arg.get_all_aliases().is_some_and(|all| all.contains(&&*name))
    })
}

/// The reader of our stdout went away (`onestep ... | head`): the caller has all that it wanted.
fn is_closed_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { path, source }
        if path == Path::new("stdout") && source.kind() == ErrorKind::BrokenPipe)
}

/// What to try next.
fn hint(error: &Error) -> Option<&'static str> {
    Some(match error {
        // A reason of our own has said it.
        Error::Io { source, .. } if source.get_ref().is_some() => return None,
        Error::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => "check the path; folders above an output file are not made",
            ErrorKind::StorageFull => "the disk is full; nothing partial was left",
            _ => return None,
        },
        Error::DeviceUnavailable { .. } => "`onestep devices` lists what this build finds on this machine",
        Error::OutOfMemory { what, .. }
            if what.starts_with("a session's scratch") || *what == "the images" =>
        {
            "a smaller batch takes less; `onestep info` says how much one image takes"
        }
        _ => return None,
    })
}
