//! Who prints to a slot's standard error, and where that is told.

use std::sync::Arc;

use super::board::Claims;
use crate::events::{Event, FORWARDED, WorkerId};
use crate::graph::StageId;
use crate::shared::Shared;

/// Who writes into a slot's pipe, and where that is told.
pub(crate) struct Speaker {
    pub(crate) run: Arc<Shared>,
    pub(crate) stage: StageId,
    pub(crate) place: usize,
    pub(crate) claims: Claims,
}

impl Speaker {
    /// Tells of a line, or a part of a long one.
    pub(super) fn says(&self, line: &[u8]) {
        self.run.bus().tell(|| {
            let (stage, pid) = (self.run.stage_name(self.stage), self.claims.pid());
            let worker = WorkerId { stage, worker: self.place, pid };
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
            let forwarded = text.strip_prefix(char::from(FORWARDED)).and_then(|text| {
                let mut parts = text.splitn(3, '\t').map(str::to_string);
                Some((parts.next()?, parts.next()?, parts.next()?))
            });
            match forwarded {
                Some((level, target, message)) => Event::Traced { worker, level, target, message },
                None => Event::Printed { worker, line: text.into_owned() },
            }
        });
    }
}
