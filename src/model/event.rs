//! What a run tells about itself. Every event passes the dispatcher, so all
//! who listen see one order.

use std::sync::Arc;

use super::failure::Failure;

/// One stage of an item's way; also the name of what is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Bytes come in.
    Download,
    /// The CPU works.
    Encode,
    /// Objects go out.
    Upload,
}

/// Something that happened to one item, `at` seconds into the run.
#[derive(Clone, Debug)]
pub struct Event {
    /// Seconds since the run began, by a clock that never jumps.
    pub at: f64,
    /// The item's number in the run.
    pub item: u64,
    /// What happened.
    pub what: What,
}

/// The things that can happen to an item.
#[derive(Clone, Debug)]
pub enum What {
    /// The item was taken from the list.
    Started {
        /// The input as shown to people: no secrets, no control characters.
        input: Arc<str>,
    },
    /// Its id at the destination is known.
    Named {
        /// The id.
        id: Arc<str>,
        /// A title for people, when one is known.
        title: Option<Arc<str>>,
    },
    /// Bytes of the source arrived.
    Downloading {
        /// Bytes so far.
        bytes: u64,
        /// All bytes, if the server said.
        total: Option<u64>,
    },
    /// The source is whole on this machine.
    Downloaded {
        /// Its bytes.
        bytes: u64,
    },
    /// The quality that was asked for is looked for in samples.
    Searching {
        /// The round, from 1; five or six are usual.
        round: u64,
        /// Samples measured in this round.
        done: u64,
        /// Samples of a round.
        samples: u64,
        /// What the round found, one line for people, when it is over; else empty.
        found: Arc<str>,
    },
    /// It was decided what to make.
    Planned {
        /// Seconds of source.
        seconds: f64,
        /// Chunks to encode in all, audio included.
        chunks: u64,
        /// Those of them an earlier run has done.
        resumed: u64,
        /// Renditions of the picture.
        renditions: u64,
        /// Objects the package will have, playlists included.
        objects: u64,
        /// One line for people: "1080p 720p 360p + audio".
        summary: Arc<str>,
    },
    /// A chunk got its share of the CPU.
    ChunkStarted {
        /// Its number; audio tracks come after the last chunk of video.
        chunk: u64,
    },
    /// A chunk's encoder says how far it is.
    ChunkProgress {
        /// Its number.
        chunk: u64,
        /// Part done, from 0 to 1.
        part: f64,
    },
    /// A chunk is encoded and checked.
    ChunkEncoded {
        /// Its number.
        chunk: u64,
        /// CPU seconds its encoder used.
        cpu_seconds: f64,
    },
    /// All of a chunk was taken over from an earlier package.
    ChunkKept {
        /// Its number.
        chunk: u64,
    },
    /// Objects are on their way to the destination.
    Uploading {
        /// Objects stored so far.
        objects: u64,
        /// Their bytes so far.
        bytes: u64,
    },
    /// A try failed and another will follow.
    Retrying {
        /// Which stage.
        stage: Stage,
        /// Why, one line.
        why: String,
        /// Seconds until the next try.
        wait: f64,
    },
    /// A thing the user should know, which stops nothing.
    Warning {
        /// One line.
        message: String,
    },
    /// Published: the pointer is written and checked.
    Done {
        /// Address of the master playlist at the destination.
        master: String,
        /// Objects in the package.
        objects: u64,
        /// Bytes in the package.
        bytes: u64,
    },
    /// An earlier run had published the same already.
    AlreadyDone {
        /// Address of the master playlist at the destination.
        master: String,
    },
    /// A dry run: what a real one would do.
    Would {
        /// One line.
        what: String,
    },
    /// Given up.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Put aside because the run stops; the next run goes on here.
    Parked,
}

impl What {
    /// The event's name in `--json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Named { .. } => "named",
            Self::Downloading { .. } => "downloading",
            Self::Downloaded { .. } => "downloaded",
            Self::Searching { .. } => "searching",
            Self::Planned { .. } => "planned",
            Self::ChunkStarted { .. } => "chunk-started",
            Self::ChunkProgress { .. } => "chunk-progress",
            Self::ChunkEncoded { .. } => "chunk-encoded",
            Self::ChunkKept { .. } => "chunk-kept",
            Self::Uploading { .. } => "uploading",
            Self::Retrying { .. } => "retrying",
            Self::Warning { .. } => "warning",
            Self::Done { .. } => "done",
            Self::AlreadyDone { .. } => "already-done",
            Self::Would { .. } => "would",
            Self::Failed { .. } => "failed",
            Self::Parked => "parked",
        }
    }

    /// Whether nothing follows for this item.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Self::Done { .. } | Self::AlreadyDone { .. } | Self::Would { .. } | Self::Failed { .. } | Self::Parked
        )
    }
}

/// How busy a lane was over the run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct LaneUse {
    /// Permits in all.
    pub capacity: u64,
    /// Permits taken now.
    pub taken: u64,
    /// Waiting for permits now.
    pub waiting: u64,
    /// Permit-seconds taken since the lane was made.
    pub busy_seconds: f64,
    /// Seconds in which at least one permit was taken.
    pub active_seconds: f64,
}

/// The lanes at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Usage {
    /// Seconds since the run began.
    pub at: f64,
    /// Downloads.
    pub network: LaneUse,
    /// Reads and writes of folders.
    pub disk: LaneUse,
    /// Encoder threads.
    pub cpu: LaneUse,
    /// Bytes of scratch space.
    pub scratch: LaneUse,
    /// Uploads.
    pub upload: LaneUse,
    /// Bytes downloaded since the run began.
    pub downloaded_bytes: u64,
}
