//! The listener thread of one zygote: it notes what the zygote reports, kills one that does not answer, and
//! buries what a dead one leaves behind.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use minigun_os::{Ending, Interest, Pid, Process, Signal, Watch, kill_group, poll, procfs};

use super::book::{Card, STUCK, Shared, Verdict, lock};
use super::exit::{Exit, Status};
use super::message::{BATCH, RECORD, Reply};
use super::server::ORDERLY;

/// How long an orphan that was killed may take to be gone.
const BURIAL: Duration = Duration::from_secs(1);

/// The titles of zygotes and workers begin like this.
const TITLE: &str = "mg:";

impl Shared {
    /// Answers until the zygote is gone, then reaps it and strikes every card left.
    pub(super) fn listen(&self) {
        self.hear();
        let mut infants = Vec::new();
        let ending = self.end_of_zygote(&mut infants);
        let orderly = matches!(ending, Some(Ending::Code(ORDERLY) | Ending::Unknown));
        let cards = self.close_book(ending, orderly);
        if !cards.is_empty() {
            // The kernel has sent the workers SIGKILL before the zygote's end could be seen. Only when they
            // are gone may others have their places on the board.
            self.await_vanishing();
            self.bury(&cards, infants);
        }
        for card in cards.values() {
            card.strike(Exit::unmeasured(Status::ZygoteLost));
        }
    }

    /// Notes what the zygote says, until it is dead and has nothing more to say.
    fn hear(&self) {
        let mut message = [0; BATCH * RECORD];
        // Times in a row that half of the bound passed without a word. Two halves, because a program that
        // was itself stopped (with the zygote, as a container is) finds its time over when it goes on.
        let mut doubts = 0;
        loop {
            match self.control.try_recv(&mut message) {
                Ok((0, _)) => return,
                Ok((length, _)) => {
                    doubts = 0;
                    message[..length].chunks(RECORD).filter_map(Reply::decode).for_each(|r| self.note(r));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut watches = [
                        Watch::new(&self.control, Interest::Read),
                        Watch::new(&self.process, Interest::Read),
                        Watch::new(&self.watch, Interest::Read),
                    ];
                    let bound = self.is_watched().then_some(self.answer / 2);
                    let Ok(ready) = poll(&mut watches, bound) else { return };
                    let [said, dead, owed] = watches.map(|watch| watch.is_ready());
                    if ready == 0 {
                        doubts += 1;
                        match self.silence() {
                            None => doubts = 0,
                            Some(_) if self.is_condemned() => return,
                            Some(time) if doubts >= 2 && time >= self.answer => {
                                self.condemn(Verdict::Silent);
                            }
                            Some(_) => {}
                        }
                    }
                    if owed && self.watch.clear().is_err() {
                        return;
                    }
                    // Only when it is dead and has nothing more to say: a worker killed in its first
                    // moment may hold a copy of the zygote's end a little longer.
                    if !said && dead {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// `None` if it is there although it was killed. The workers that are still in its group are killed before
    /// it is reaped, and are `infants` if they are the program's children now: until then the group's number
    /// cannot belong to anybody else.
    fn end_of_zygote(&self, infants: &mut Vec<Pid>) -> Option<Ending> {
        for bound in [Duration::from_secs(1), STUCK] {
            let gone = poll(&mut [Watch::new(&self.process, Interest::Read)], Some(bound));
            if gone.is_ok_and(|ready| ready == 1) {
                let zygote = self.process.pid();
                let _ = kill_group(zygote, Signal::KILL);
                if !self.is_without_cards() {
                    let ours = |pid: &Pid| *pid != zygote && procfs::group_of(*pid) == Some(zygote);
                    *infants = children().into_iter().filter(ours).collect();
                }
            }
            if let Ok(Some(ending)) = self.process.wait(Some(Duration::ZERO)) {
                return Some(ending);
            }
            let _ = self.process.signal(Signal::KILL);
        }
        None
    }

    /// The workers of a dead zygote are dead. Their subprocesses, in their process groups, are ours to kill.
    /// The number of a group with members is not given to anybody else; but a process that has it when all
    /// workers are gone is a stranger, who got it because the group was empty.
    ///
    /// Where the program takes over orphans (the first process of a container, a subreaper), the workers are
    /// its children now, for it to reap.
    fn bury(&self, cards: &HashMap<u64, Arc<Card>>, infants: Vec<Pid>) {
        let told = cards.iter().map(|(id, card)| (id, lock(&card.state).pid));
        let workers: Vec<_> = told.filter_map(|(id, pid)| pid.or_else(|| self.notes.pid_of(*id))).collect();
        for worker in &workers {
            if !procfs::is_alive(*worker) {
                let _ = kill_group(*worker, Signal::KILL);
            }
        }
        let orphans = children();
        let ours = infants.into_iter().chain(workers);
        ours.filter(|worker| orphans.contains(worker)).for_each(reap_orphan);
    }
}

fn children() -> Vec<Pid> {
    procfs::children_of(Pid::current()).unwrap_or_default()
}

/// The zygote may have reaped a worker without telling, and its number may be another child's by now: so it is
/// held by a handle first, and then known by its title.
fn reap_orphan(worker: Pid) {
    if let Ok(orphan) = Process::open(worker)
        && procfs::title(worker).is_ok_and(|title| title.starts_with(TITLE))
    {
        let _ = orphan.wait(Some(BURIAL));
    }
}
