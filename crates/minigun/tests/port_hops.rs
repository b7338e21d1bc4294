//! Ports over several hops: between contexts of every kind, from producers, late, early, and for names known only at run
//! time.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use common::{Event, error_of, everywhere, sorted, told, under, within};
use minigun::{Error, Flow, Pipeline, Port, merge, process_per_batch, processes, threads};
use serde::{Deserialize, Serialize};

/// What an item passed, told by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Traveller {
    id: u32,
    path: Vec<(String, u32)>,
}

impl Traveller {
    fn at(mut self, place: &str) -> Self {
        self.path.push((place.to_string(), std::process::id()));
        self
    }
}

#[test]
fn items_hop_from_threads_to_a_pool_to_fresh_processes_to_threads() {
    within("hops", || {
        let p = Pipeline::new("hops");
        let (to_pool, in_pool) = p.inlet::<Traveller>("to the pool");
        let (to_fresh, in_fresh) = p.inlet::<Traveller>("to fresh processes");
        let (to_threads, in_threads) = p.inlet::<Traveller>("to threads");
        let (away, strays) = p.inlet::<u32>("strays");
        p.source("in", (0..60).map(|id| Traveller { id, path: Vec::new() }))
            .threads(3, |s| s.router("first", &to_pool, |t: Traveller, to| to.emit(t.at("threads"))));
        in_pool.processes(2, |s| {
            s.router("second", (&to_fresh, &away), |t: Traveller, (on, away)| {
                if t.id.is_multiple_of(10) { away.emit(t.id) } else { on.emit(t.at("pool")) }
            })
        });
        // The last hop jumps over two contexts; some go there directly.
        in_fresh.process_per_batch(2, |s| {
            s.router("third", [&to_threads, &to_threads], |t: Traveller, to| {
                to[t.id as usize % 2].emit(t.at("fresh"))
            })
        });
        let out =
            in_threads.threads(2, |s| s.map("last", |t: Traveller| t.at("threads again"))).collect("out");
        let strays = strays.collect("strays");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(strays)), [0, 10, 20, 30, 40, 50]);
        let out = sorted(report.take(out));
        assert_eq!(
            out.iter().map(|t| t.id).collect::<Vec<_>>(),
            (0..60).filter(|n| n % 10 != 0).collect::<Vec<_>>()
        );
        let (mut pool, mut fresh) = (BTreeSet::new(), BTreeSet::new());
        for t in out {
            let (places, pids): (Vec<_>, Vec<_>) = t.path.into_iter().unzip();
            assert_eq!(places, ["threads", "pool", "fresh", "threads again"]);
            let here = std::process::id();
            assert!(pids[0] == here && pids[3] == here && pids[1] != here && pids[2] != here);
            pool.insert(pids[1]);
            assert!(fresh.insert(pids[2]), "a process for every item");
        }
        assert!(pool.len() <= 2);
    });
}

/// A stage in the innermost of nested blocks sends out of all of them.
#[test]
fn a_router_on_threads_in_a_worker_sends_to_every_context() {
    everywhere(|executor| {
        let p = Pipeline::new("nested");
        let inlets: [(Port<u32>, Flow<u32>); 3] = ["a", "b", "c"].map(|name| p.inlet(name));
        let (ports, flows): (Vec<_>, Vec<_>) = inlets.into_iter().unzip();
        p.source("in", 0..60u32).batch(6).on(executor, |s| {
            s.unbatch().inline(|s| {
                s.threads(2, |s| s.router("route", ports, |n, ports| ports[n as usize % 3].emit(n)))
            })
        });
        let mut flows = flows.into_iter();
        let mut next = || flows.next().unwrap();
        let a = next().on(threads(2), |s| s.map("a", |n| n)).collect("from a");
        let b = next().on(processes(2), |s| s.map("b", |n| n)).collect("from b");
        let c = next().on(process_per_batch(2), |s| s.map("c", |n| n)).collect("from c");
        let mut report = p.run().unwrap();
        for (end, rest) in [(a, 0), (b, 1), (c, 2)] {
            assert_eq!(sorted(report.take(end)), sorted((0..60).filter(|n| n % 3 == rest)));
        }
    });
}

#[test]
fn a_producer_sends_to_ports_in_every_shape_and_at_once() {
    everywhere(|executor| {
        let p = Pipeline::new("producers");
        let inlets: Vec<(Port<u32>, Flow<u32>)> = (0..6).map(|n| p.inlet(&format!("port {n}"))).collect();
        let (ports, flows): (Vec<_>, Vec<_>) = inlets.into_iter().unzip();
        let arrived = Event::new();
        let seen = Arc::clone(&arrived);
        let one = p.producer_to("one", (&ports[0], [&ports[1], &ports[2]]), move |out, (first, others)| {
            first.emit(0);
            // It has gone on, although this producer has not ended.
            seen.wait();
            others[0].emit(1);
            others[1].emit(2);
            out.emit(100);
        });
        let map: BTreeMap<_, _> = ["x", "y"].into_iter().zip(&ports[3..5]).collect();
        let two = p.producer_to("two", (map, vec![&ports[5], &ports[0]]), |out, (named, list)| {
            for n in 10..20 {
                named.get_mut(if n % 2 == 0 { "x" } else { "y" }).ok_or("no such port")?.emit(n);
                list[n as usize % 2].emit(n);
                out.emit(n);
            }
            Ok(())
        });
        // It declares a port and never sends.
        let silent = p.producer_to("silent", &ports[1], |_: &mut minigun::Output<u32>, _| ());
        let out = one.merge([two, silent]).collect("out");
        let ends: Vec<_> = flows
            .into_iter()
            .enumerate()
            .map(|(n, flow)| {
                let tell = Arc::clone(&arrived);
                flow.on(executor, |s| s.map(&format!("step {n}"), |n| n))
                    .inspect(&format!("see {n}"), move |n| {
                        if *n == 0 {
                            tell.set();
                        }
                    })
                    .collect(&format!("end {n}"))
            })
            .collect();
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((10..20).chain([100])));
        let got: Vec<_> = ends.into_iter().map(|end| sorted(report.take(end))).collect();
        let odd = || (10..20).filter(|n| n % 2 == 1).collect::<Vec<u32>>();
        let even = || (10..20).filter(|n| n % 2 == 0).collect::<Vec<u32>>();
        assert_eq!(got, [[vec![0], odd()].concat(), vec![1], vec![2], even(), odd(), even()]);
        assert_eq!(report.stage("one").unwrap().figures.items_out, 4);
        assert_eq!(report.stage("two").unwrap().figures.items_out, 30);
    });
}

#[test]
fn items_a_producer_sent_have_numbers_of_their_own_whichever_port_they_took() {
    within("numbers", || {
        let p = Pipeline::new("numbers");
        let (port, flow) = p.inlet::<u32>("port");
        let numbers = p.collector("numbers");
        let see = move |n| {
            numbers.push(minigun::attempt().map(|at| at.item));
            n
        };
        // Light steps behind a producer are part of its attempts.
        let out = p.producer_to("in", &port, |out, port| {
            (0..10u32).for_each(|n| if n % 2 == 0 { out.emit(n) } else { port.emit(n) })
        });
        out.map("even", see).discard();
        flow.map("odd", see).discard();
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(numbers)), (0..10).map(Some).collect::<Vec<_>>());
    });
}

#[test]
fn a_producer_whose_port_leads_to_a_failure_ends_the_run_with_that() {
    within("failure", || {
        let p = Pipeline::new("failure");
        let (port, flow) = p.inlet::<u32>("port");
        flow.try_map("check", |n| if n == 3 { Err("three".into()) } else { Ok(n) }).discard();
        let out = p.producer_to("in", &port, |_: &mut minigun::Output<u32>, port| {
            (0..10).for_each(|n| port.emit(n));
            Err("not told: it only failed because of the port".into())
        });
        out.discard();
        let (stage, item, _, cause, _) = told(error_of(p));
        assert_eq!((stage.as_str(), item, cause.as_str()), ("check", 3, "three"));

        // And what it sent before it failed by itself has arrived.
        let p = Pipeline::new("failure");
        let (port, flow) = p.inlet::<u32>("port");
        flow.discard();
        let out = p.producer_to("in", &port, |_: &mut minigun::Output<u32>, port| {
            (0..10).for_each(|n| port.emit(n));
            Err("by itself".into())
        });
        out.discard();
        let (stage, item, _, cause, _) = told(error_of(p));
        assert_eq!((stage.as_str(), item, cause.as_str()), ("in", 10, "by itself"));
    });
}

/// Its first item comes when all other senders have long ended.
#[test]
fn a_late_sender_over_several_hops_still_counts() {
    everywhere(|executor| {
        let p = Pipeline::new("late");
        let (port, flow) = p.inlet::<u32>("port");
        let (hop, hopping) = p.inlet::<u32>("hop");
        let others = Event::new();
        let wait = Arc::clone(&others);
        p.source("early", 0..5u32).on(executor, |s| s.send_to(&port));
        p.source("never", 0..0u32).send_to(&port);
        let late = p.producer("late", move |out| {
            wait.wait();
            (100..103).for_each(|n| out.emit(n));
        });
        late.on(executor, |s| s.router("hop on", &hop, |n, hop| hop.emit(n)));
        hopping.on(executor, |s| s.router("hop off", &port, |n, port| port.emit(n)));
        let out = flow
            .inspect("see", move |n| {
                if *n == 4 {
                    others.set();
                }
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [0, 1, 2, 3, 4, 100, 101, 102]);
    });
}

/// Of many senders the first ends while the last has not begun: what both sent arrives.
#[test]
fn one_of_many_senders_ending_early_loses_nothing() {
    everywhere(|executor| {
        let p = Pipeline::new("many");
        let (port, flow) = p.inlet::<u32>("port");
        for sender in 0..12u32 {
            let items = sender * 100..sender * 100 + sender * 3;
            p.source(&format!("in {sender}"), items).on(executor.place().queue(2), |s| {
                s.router(&format!("send {sender}"), &port, |n, to| to.emit(n))
            });
        }
        let out = flow.on(executor, |s| s.map("receive", |n| n)).collect("out");
        let expected = (0..12).flat_map(|sender| sender * 100..sender * 100 + sender * 3);
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected));
    });
}

#[test]
fn ports_that_get_nothing_end_in_every_context() {
    everywhere(|executor| {
        let p = Pipeline::new("nothing");
        let names = ["a", "b", "c", "d"];
        let inlets = names.map(|name| p.inlet::<u32>(name));
        let (ports, flows): (Vec<_>, Vec<_>) = inlets.into_iter().unzip();
        p.source("in", 0..50u32).on(executor, |s| s.router("route", ports, |n, ports| ports[0].emit(n)));
        let places = ["inline", "threads:2", "processes:2", "process_per_batch:2"];
        let ends: Vec<_> = flows
            .into_iter()
            .zip(places)
            .map(|(flow, place)| {
                flow.batch(7)
                    .on(place.parse::<minigun::Executor>().unwrap(), |s| {
                        s.map(place, |batch: Vec<u32>| batch.len())
                    })
                    .collect(&format!("end {place}"))
            })
            .collect();
        let mut report = p.run().unwrap();
        let sums: Vec<usize> = ends.into_iter().map(|end| report.take(end).iter().sum()).collect();
        assert_eq!(sums, [50, 0, 0, 0]);
    });
}

/// The names come with the data; a name that nobody declared is the item's failure, not a lost item.
#[test]
fn routes_by_names_known_only_at_run_time() {
    everywhere(|executor| {
        let p = Pipeline::new("names");
        let kinds: Vec<String> = (0..5).map(|n| format!("kind {n}")).collect();
        let (mut by_kind, mut ends) = (HashMap::new(), BTreeMap::new());
        for kind in &kinds {
            let (port, flow) = p.inlet::<(String, u32)>(kind);
            by_kind.insert(kind.clone(), port);
            let end = flow.on(executor, |s| s.map(&format!("do {kind}"), |(_, n)| n));
            ends.insert(kind.clone(), end.collect(&format!("end {kind}")));
        }
        let (other, others) = p.inlet::<String>("others");
        let jobs = (0..70u32).map(|n| (format!("kind {}", n % 7), n));
        p.source("jobs", jobs).on(executor, |s| {
            s.router("route", (by_kind, &other), |job: (String, u32), (kinds, other)| {
                match kinds.get_mut(&job.0) {
                    Some(port) => port.emit(job),
                    None => other.emit(job.0),
                }
            })
        });
        let others = others.collect("the others");
        let mut report = p.run().unwrap();
        for (at, (_, end)) in ends.into_iter().enumerate() {
            assert_eq!(sorted(report.take(end)), sorted((0..70).filter(|n| n % 7 == at as u32)));
        }
        let others = report.take(others);
        assert_eq!(others.len(), 20);
        assert!(others.iter().all(|kind| ["kind 5", "kind 6"].contains(&kind.as_str())));
    });
}

/// What matters most goes past what waits: it has a port, and so a queue and workers, of its own.
#[test]
fn urgent_items_do_not_wait_behind_others() {
    under(&["threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("priority");
        let ((urgent, urgents), (rest, rests)) = (p.inlet::<u32>("urgent"), p.inlet::<u32>("rest"));
        let done = Event::new();
        let wait = Arc::clone(&done);
        p.source("in", 0..100u32).router("by priority", (&urgent, &rest), |n, (urgent, rest)| {
            if n % 10 == 9 { urgent.emit(n) } else { rest.emit(n) }
        });
        // The others are not begun before the last urgent one, which came last of all, is done.
        let rests = rests.on(executor, |s| {
            s.map("when there is time", move |n| {
                wait.wait();
                n
            })
        });
        let urgents = urgents.on(executor, |s| s.map("now", |n| n)).inspect("see", move |n| {
            if *n == 99 {
                done.set();
            }
        });
        let out = rests.merge(urgents).collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..100));
    });
}

#[test]
fn a_port_of_another_pipeline_is_a_mistake_for_a_producer_too() {
    within("other", || {
        let other = Pipeline::new("other");
        let (port, flow) = other.inlet::<u32>("port");
        flow.discard();
        let p = Pipeline::new("mine");
        p.producer_to("in", &port, |_: &mut minigun::Output<u32>, port| port.emit(1)).discard();
        let Error::Wiring { mistakes, .. } = error_of(p) else { panic!("a mistake was expected") };
        assert!(mistakes[0].to_string().contains("`in` is joined to a flow or port of another pipeline"));
    });
}

/// What an iterator emits into a port while the producer's own output asks it for the next item.
#[test]
fn an_iterator_that_a_producer_sends_on_may_emit_into_its_ports() {
    within("iterator", || {
        for (light, port_into_the_same) in [(true, false), (true, true), (false, true), (false, false)] {
            let p = Pipeline::new("sieve");
            let (bad, others) = p.inlet::<u64>("bad");
            let good = p.producer_to("numbers", &bad, |out, bad| {
                out.extend((0..1000u64).filter(|n| {
                    if n % 3 == 0 {
                        bad.emit(*n);
                    }
                    n % 3 != 0
                }));
                bad.emit(1000);
            });
            let good = if light { good.map("light", |n| n) } else { good };
            let others = others.map("other", |n| n + 10_000);
            let (all, rest) = if port_into_the_same {
                (merge([good, others]).collect("all"), None)
            } else {
                (good.collect("good"), Some(others.collect("others")))
            };
            let mut report = p.run().unwrap();
            let mut got = report.take(all);
            got.extend(rest.into_iter().flat_map(|rest| report.take(rest)));
            let multiples = (0..1000).filter(|n| n % 3 == 0).chain([1000]).map(|n| n + 10_000);
            let due = sorted((0..1000).filter(|n| n % 3 != 0).chain(multiples));
            assert_eq!(sorted(got), due, "light {light}, into the same {port_into_the_same}");
            assert_eq!(report.stage("numbers").unwrap().figures.items_out, 1001);
        }
    });
}
