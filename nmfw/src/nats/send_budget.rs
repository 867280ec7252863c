//! [`SendBudgets`]: limits the resends of a channel's calls.
//!
//! A call is resent if no instance has started it, if its instance is gone, and by layers that
//! retry or hedge. An overload, or a broken or hostile service, can cause this for every call, as
//! often as its settings allow. All resends, whatever the cause, therefore spend from one budget,
//! which accepted calls refill, as in gRPC's retry throttling. When it is empty, a call ends with
//! its current outcome.

use std::{
    ptr,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Code, ServiceSpec, Status};
use nmfw_core::call::attempt::Spent;

/// Tokens an accepted call adds: `max_attempts − 1` at the default of five. The budget lasts while
/// one call in five is accepted; excess calls are then sent once.
const EARNED_PER_CALL: u32 = 4;

/// The initial budget, sufficient for a burst of calls to an instance that is full or stopping.
const INITIAL: u32 = 1000;

/// The maximum budget, sufficient for all calls of a channel that are with a stopping instance.
const CAPACITY: u32 = 10_000;

/// Maximum number of tokens for calls that full instances refuse. Such resends amplify an overload,
/// whereas a stopping instance refuses its calls only once, and others have room for them.
const CAPACITY_OF_FULL: u32 = 1000;

/// The budgets of a channel and its clones, one per called service.
#[derive(Debug, Default)]
pub(crate) struct SendBudgets {
    /// The service that was called first, usually the only one.
    first: OnceLock<(&'static ServiceSpec, SendBudget)>,
    others: RwLock<Vec<(&'static ServiceSpec, Arc<SendBudget>)>>,
}

impl SendBudgets {
    /// Records the end of a call.
    pub(crate) fn ended(&self, service: &'static ServiceSpec, outcome: Result<(), &Status>) {
        // An outcome that is not about the request may cause a resend, and adds nothing.
        let is_taken = outcome.map_or_else(
            |status| {
                let code = status.code();
                !status.is_not_started()
                    && !matches!(
                        code,
                        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
                    )
            },
            |()| true,
        );
        if is_taken {
            self.of(service, SendBudget::earn);
        }
    }

    /// Returns whether a call that ended with `status` may be resent.
    pub(crate) fn spend(&self, service: &'static ServiceSpec, status: &Status) -> bool {
        let is_full = status.code() == Code::ResourceExhausted;
        self.of(service, |budget| budget.spend(is_full))
    }

    /// Pays for a resend by a layer.
    ///
    /// # Errors
    /// Fails if the budget is used up, with the source [`Spent`] for the layer.
    pub(crate) fn spend_for_layer(&self, service: &'static ServiceSpec) -> Result<(), Status> {
        match self.of(service, |budget| budget.spend(false)) {
            true => Ok(()),
            false => Err(Spent::status()),
        }
    }

    fn of<T>(&self, service: &'static ServiceSpec, act: impl FnOnce(&SendBudget) -> T) -> T {
        let (first, budget) = self.first.get_or_init(|| (service, SendBudget::default()));
        if ptr::eq(*first, service) {
            return act(budget);
        }
        let find = |others: &Vec<(&'static ServiceSpec, Arc<SendBudget>)>| {
            let mut others = others.iter();
            let found = others.find(|(other, _)| ptr::eq(*other, service));
            found.map(|(_, budget)| Arc::clone(budget))
        };
        let known = find(&self.others.read().unwrap_or_else(PoisonError::into_inner));
        let budget = known.unwrap_or_else(|| {
            let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
            // Services are part of the program, so their number is bounded.
            find(&others).unwrap_or_else(|| {
                let budget = Arc::<SendBudget>::default();
                others.push((service, Arc::clone(&budget)));
                budget
            })
        });
        act(&budget)
    }
}

/// The budget of a service. Each resend costs one token.
#[derive(Debug)]
struct SendBudget {
    all: AtomicU32,
    /// The additional limit for calls that full instances have refused.
    of_full: AtomicU32,
}

impl Default for SendBudget {
    fn default() -> Self {
        Self {
            all: AtomicU32::new(INITIAL),
            of_full: AtomicU32::new(CAPACITY_OF_FULL),
        }
    }
}

impl SendBudget {
    fn earn(&self) {
        for (left, capacity) in [(&self.all, CAPACITY), (&self.of_full, CAPACITY_OF_FULL)] {
            // Usually full, in which case the shared counter is only read.
            let more =
                |left: u32| (left < capacity).then(|| (left + EARNED_PER_CALL).min(capacity));
            _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    fn spend(&self, is_full: bool) -> bool {
        let take = |left: &AtomicU32| {
            let less = |left: u32| left.checked_sub(1);
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            taken.is_ok()
        };
        (!is_full || take(&self.of_full)) && take(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MethodSpec;

    static SHOP: ServiceSpec =
        ServiceSpec::new("shop", "Shop").with_methods(&[MethodSpec::unary("A")]);
    static BANK: ServiceSpec =
        ServiceSpec::new("bank", "Bank").with_methods(&[MethodSpec::unary("B")]);
    static POST: ServiceSpec =
        ServiceSpec::new("post", "Post").with_methods(&[MethodSpec::unary("C")]);

    fn spent(budgets: &SendBudgets, service: &'static ServiceSpec, status: &Status) -> u32 {
        let mut count = 0;
        while budgets.spend(service, status) {
            count += 1;
        }
        count
    }

    fn gone() -> Status {
        Status::unavailable("stopping").not_started()
    }

    fn full() -> Status {
        Status::resource_exhausted("full").not_started()
    }

    #[test]
    fn it_is_spent_and_earned() {
        let budgets = SendBudgets::default();
        assert_eq!(spent(&budgets, &SHOP, &gone()), INITIAL);
        assert_eq!(spent(&budgets, &SHOP, &full()), 0);
        assert!(Spent::is_cause_of(
            &budgets.spend_for_layer(&SHOP).unwrap_err()
        ));
        budgets.ended(&SHOP, Ok(()));
        assert_eq!(spent(&budgets, &SHOP, &gone()), EARNED_PER_CALL);
        for _ in 0..CAPACITY {
            budgets.ended(&SHOP, Err(&Status::not_found("no such item")));
        }
        budgets.spend_for_layer(&SHOP).unwrap();
        assert_eq!(spent(&budgets, &SHOP, &gone()), CAPACITY - 1);
    }

    #[test]
    fn an_overload_gets_a_part() {
        let budgets = SendBudgets::default();
        for _ in 0..CAPACITY {
            budgets.ended(&SHOP, Ok(()));
        }
        assert_eq!(spent(&budgets, &SHOP, &full()), CAPACITY_OF_FULL);
        assert_eq!(spent(&budgets, &SHOP, &gone()), CAPACITY - CAPACITY_OF_FULL);
    }

    #[test]
    fn what_is_not_taken_earns_nothing() {
        let budgets = SendBudgets::default();
        spent(&budgets, &SHOP, &gone());
        for status in [
            gone(),
            full(),
            Status::unavailable("the call may have started"),
            Status::resource_exhausted("the response is too large"),
            Status::deadline_exceeded("no answer"),
            Status::not_found("the error does not come from a handler").not_started(),
        ] {
            budgets.ended(&SHOP, Err(&status));
        }
        assert_eq!(spent(&budgets, &SHOP, &gone()), 0);
    }

    #[test]
    fn each_service_has_its_own() {
        let budgets = SendBudgets::default();
        for service in [&SHOP, &BANK, &POST] {
            assert_eq!(spent(&budgets, service, &gone()), INITIAL);
        }
        budgets.ended(&POST, Ok(()));
        assert_eq!(spent(&budgets, &BANK, &gone()), 0);
        assert_eq!(spent(&budgets, &POST, &gone()), EARNED_PER_CALL);
    }

    #[test]
    fn threads_get_no_more_than_there_is() {
        let budgets = SendBudgets::default();
        let all: u32 = std::thread::scope(|scope| {
            let spend = || spent(&budgets, &SHOP, &gone());
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(spend)).collect();
            let spent = threads.into_iter().map(|thread| thread.join().unwrap());
            spent.sum()
        });
        assert_eq!(all, INITIAL);
    }
}
