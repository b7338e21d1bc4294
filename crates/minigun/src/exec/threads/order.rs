//! The order behind a block of threads: its workers hand in what their items made, and one thread passes it on when its
//! turn has come.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Team;
use crate::apart::Shelf;
use crate::error::{Error, init_error};
use crate::exec::launch::Launch;
use crate::failure::{FailedItem, Failure, Fate};
use crate::graph::{BlockId, StageId};
use crate::plan::{BlockDef, Placed};
use crate::process::Arrival;
use crate::queue::Queue;
use crate::stage::exit::{Carrier, Parcel};
use crate::stage::turns::Turns;
use crate::working::Working;

/// Where the outputs of a block's workers wait for their turn.
pub(super) struct Ordered {
    pub(super) block: Arc<BlockDef>,
    pub(super) turns: Arc<Turns<InTurn>>,
}

/// The outputs of an item, and the attempt that made them.
pub(super) struct InTurn {
    pub(super) parcels: Vec<Parcel>,
    pub(super) attempt: u32,
}

impl Ordered {
    pub(super) fn of<T>(block: &Placed<T>) -> Option<Self> {
        let ordered = block.placement.settings.ordered;
        ordered.then(|| Ordered { block: Arc::clone(&block.def), turns: Turns::new() })
    }
}

impl Ordered {
    /// The border of the block, over which a worker's outputs are left to be handed in.
    pub(super) fn border(&self, parcels: &Rc<RefCell<Vec<Parcel>>>) -> (BlockId, Carrier) {
        (self.block.id, Carrier::Parcels(Rc::clone(parcels)))
    }

    /// Starts the thread that passes on what is handed in.
    pub(super) fn launch<T: Send + 'static>(
        &self,
        team: &Arc<Team<T>>,
        launch: &Launch,
    ) -> Result<(), Error> {
        let (turns, block, team) = (Arc::clone(&self.turns), Arc::clone(&self.block), Arc::clone(team));
        let pass = move |arrival: &mut Arrival, number, InTurn { parcels, attempt }| {
            let of = Working::Item { item: number, attempt };
            Ok(arrival.parcels(parcels, of).map_err(|failure| (attempt, failure)))
        };
        let queue = Arc::clone(&team.queue);
        pass_in_order(launch, (&team.name, team.stage), (turns, queue), block, pass)
    }
}

/// Starts the thread that passes on in order what the workers of a block hand in. `pass` gives an item's outputs to the
/// way out of the block; it says which attempt failed there, and why, or what else went wrong.
pub(in crate::exec) fn pass_in_order<T: Send + 'static, X: Send + 'static>(
    launch: &Launch,
    (name, stage): (&Arc<str>, StageId),
    (turns, queue): (Arc<Turns<X>>, Arc<Queue<T>>),
    block: Arc<BlockDef>,
    pass: impl Fn(&mut Arrival, u64, X) -> Result<Result<(), (u32, Failure)>, Error> + Send + 'static,
) -> Result<(), Error> {
    launch.shared.on_halt(Arc::clone(&turns) as _);
    let (shared, name) = (Arc::clone(&launch.shared), Arc::clone(name));
    launch.spawn(&format!("{name}/order"), move |holds| {
        let exits = block.exits.lock().clone();
        let mut arrival =
            match Arrival::open(&shared, &name, &exits, queue.in_flight().cloned(), Shelf::default()) {
                Ok(arrival) => arrival,
                Err(failure) => return shared.fail(init_error(&name, &failure)),
            };
        drop(holds);
        while let Some((number, given)) = turns.next(|passed| queue.release(passed.below, passed.full)) {
            match pass(&mut arrival, number, given) {
                Ok(Ok(())) => {}
                Ok(Err((attempt, failure))) => {
                    let failed = FailedItem::new(&name, number, attempt, &failure, Fate::Stopped);
                    shared.gave_up(stage, failed);
                    break;
                }
                Err(error) => {
                    shared.fail(error);
                    break;
                }
            }
            if arrival.commit(&shared).is_err() {
                shared.gone();
                break;
            }
            arrival.flush(&shared);
        }
        arrival.finish(&shared);
    })
}
