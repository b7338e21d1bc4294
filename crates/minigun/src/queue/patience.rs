//! How long to look before going to sleep.

/// Looks again a few times before a wait: where both sides are quick, what one waits for is there before the kernel
/// could have put it to sleep and woken it. Other threads that are ready get the core meanwhile.
#[derive(Default)]
pub(super) struct Patience(u32);

impl Patience {
    const SPINS: u32 = 2;
    const YIELDS: u32 = 10;

    pub(super) fn lasts(&self) -> bool {
        self.0 < Self::SPINS + Self::YIELDS
    }

    pub(super) fn pause(&mut self) {
        if self.0 < Self::SPINS {
            (0..1 << self.0).for_each(|_| std::hint::spin_loop());
        } else {
            std::thread::yield_now();
        }
        self.0 += 1;
    }
}
