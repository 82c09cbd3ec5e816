//! The words of output: where a stream goes, and what may become of a file.

use std::path::PathBuf;
use std::rc::Rc;

use super::Sink;
use crate::line::Format;

/// Where an output stream of a process goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Output {
    /// Through us, whole lines, with `name | ` before each.
    #[default]
    Prefix,
    /// Through us, each line as a JSON object.
    Json,
    /// Through us, whole lines as they are.
    Raw,
    /// Through us, whole lines, to a file.
    File(Rc<LogFile>),
    /// The container's own descriptor, not seen by us.
    Inherit,
    /// /dev/null.
    Null,
    /// To us alone, for what we may have to tell about it.
    Captured,
}

impl Output {
    /// Whether we see what is written.
    pub fn is_seen(&self) -> bool {
        self.past_us().is_none()
    }

    /// The word for it where we do not see what is written.
    pub fn past_us(&self) -> Option<&'static str> {
        match self {
            Self::Prefix | Self::Json | Self::Raw | Self::File(_) | Self::Captured => None,
            Self::Inherit => Some("inherit"),
            Self::Null => Some("null"),
        }
    }

    /// Where lines go from us, the container's streams, the stream's own being `own`: to which, and in what form.
    pub fn to_container(&self, own: Sink) -> Option<(Sink, Format)> {
        match self {
            Self::Prefix => Some((own, Format::Prefix)),
            Self::Json => Some((own, Format::Json)),
            // What comes through us all the same is of a run that began before an update has made it so: as it would come past us.
            Self::Raw | Self::Inherit => Some((own, Format::Raw)),
            Self::File(file) => file.also,
            Self::Null | Self::Captured => None,
        }
    }
}

/// A file that output goes to. Several streams may have the same; then all of this is the same for them but `also`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// The form of its lines.
    pub format: Format,
    /// A line with which it would become larger than so many bytes begins a new one; `None`: it grows.
    pub max_size: Option<u64>,
    /// So many older ones stay; at least 1.
    pub max_files: u32,
    /// To which of the container's streams the lines go as well, and in what form.
    pub also: Option<(Sink, Format)>,
}

/// What is wrong with a file that output goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileTrouble {
    /// It cannot be opened or written; lines are lost until it can.
    Lost {
        /// Why.
        reason: String,
    },
    /// It cannot be rotated, and grows beyond its limit.
    Grows {
        /// Why.
        reason: String,
    },
    /// It can be written again.
    Over {
        /// So many lines were lost.
        lines: u64,
    },
    /// Nobody will write it any more, and it has not worked again.
    Never {
        /// So many lines were lost.
        lines: u64,
    },
}

/// What happens to output while the reader of the container's standard output or error is stuck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The services wait, as they would without us; nothing is lost.
    #[default]
    Block,
    /// The services go on; what does not fit is dropped in whole lines, counted, and told once the reader goes on.
    Drop,
}
