// What the page knows, and how it stays true: one record, changed by `update`, followed by long poll.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.State) return;

    const {sleep} = ns.base;
    const POLL_SECONDS = 20;
    const POLL_GAP = 100;

    /** localStorage that may be missing or full: a draft is worth keeping, not worth failing for. */
    const shelf = {
        get(key) {
            try {
                return JSON.parse(localStorage.getItem(key));
            } catch (_) {
                return null;
            }
        },
        set(key, value) {
            try {
                if (value === null) localStorage.removeItem(key);
                else localStorage.setItem(key, JSON.stringify(value));
            } catch (_) { /* private mode or full */ }
        },
    };

    class State {
        /** @param {ns.Api} api */
        constructor(api) {
            this.api = api;
            this.listeners = [];
            this.watching = null;
            this.sending = 0;
            this.data = {
                online: true, host: null, studies: null, study: null, rounds: [], looking: null, draft: [], tie: false,
                showIncumbent: false, focus: null, progress: null, full: false, opening: false, blind: false,
                page: null, // 'training', 'data' or 'folder' where one of these is open instead of the list of studies
                folder: null, // number of the collection that is ranked
            };
            api.onReach = (online) => {
                if (online !== this.data.online) this.update({online});
            };
        }

        /** Be told of every change. */
        subscribe(listener) {
            this.listeners.push(listener);
        }

        /** Change the record and draw at once. */
        update(patch) {
            Object.assign(this.data, patch);
            for (const listener of this.listeners) listener(this.data);
        }

        /** The round that is ranked now. */
        get current() {
            return this.data.rounds[this.data.rounds.length - 1] || null;
        }

        /** The round on screen: the current one, or an earlier one that is looked back at. */
        get shown() {
            const {looking, rounds} = this.data;
            return looking === null ? this.current : rounds.find((round) => round.index === looking) || this.current;
        }

        /** Ranking on screen: the draft of an open round, or the answer of a closed one. */
        get tiers() {
            const round = this.shown;
            return round && round === this.current && round.status !== 'answered' ? this.data.draft : (round ? round.tiers : []);
        }

        /** Can the round on screen be ranked now? */
        get open() {
            const round = this.shown;
            if (!round || round !== this.current || round.placeholder || ['answered', 'discarded'].includes(round.status)) return false;
            return round.status !== 'failed' || this.finished > 1;
        }

        /** How many images of the current round are there. */
        get finished() {
            return this.current ? this.current.candidates.filter((one) => one.image).length : 0;
        }

        /** Images of the round on screen in screen order. */
        get cards() {
            const round = this.shown;
            if (!round) return [];
            const byId = new Map(round.candidates.map((candidate) => [candidate.id, candidate]));
            const cards = round.order.map((id) => byId.get(id)).filter(Boolean);
            // The incumbent's image exists from the beginning; alone among empty places it would give itself away.
            const alone = ['queued', 'generating'].includes(round.status) && !cards.some((one) => one.image && one.id !== round.incumbent);
            return alone ? cards.map((one) => (one.id === round.incumbent ? {...one, image: null} : one)) : cards;
        }

        // -- drafts survive a reload of the page
        draftKey(round) {
            return `rankopt:draft:${round.study}:${round.index}:${round.order[0] || ''}`;
        }

        setDraft(draft) {
            if (this.current) shelf.set(this.draftKey(this.current), draft.length ? draft : null);
            this.update({draft});
        }

        /** The stored draft of a round, or the one at hand if it is the same round. */
        draftOf(round) {
            return round && round.status !== 'answered' ? ns.ranking.clean(shelf.get(this.draftKey(round)), round.order) : [];
        }

        // -- reading
        async loadStudies() {
            this.update({studies: await this.api.get(['studies'])});
        }

        async loadHost() {
            this.update({host: await this.api.get(['host'])});
        }

        async visit(id) {
            this.update({opening: true});
            try {
                const [study, rounds] = await Promise.all([this.api.get(['studies', id]), this.api.get(['studies', id, 'rounds'])]);
                this.update({study, looking: null, focus: null, progress: null, tie: false, rounds: []});
                this.adopt(study, rounds);
                sessionStorage.setItem('rankopt:open', id);
                this.watch(id);
            } finally {
                this.update({opening: false});
            }
        }

        close() {
            this.stopWatching();
            sessionStorage.removeItem('rankopt:open');
            this.update({study: null, rounds: [], looking: null, draft: [], progress: null, focus: null});
        }

        /** Take over what the server says, unless an answer of ours is still on its way. */
        async refresh() {
            const {study} = this.data;
            if (!study || this.sending) return;
            const parts = ['studies', study.id];
            const [fresh, rounds] = await Promise.all([this.api.get(parts), this.api.get([...parts, 'rounds'])]);
            if (this.data.study && this.data.study.id === fresh.id && !this.sending) this.adopt(fresh, rounds);
        }

        async refreshRound(index) {
            const {study} = this.data;
            if (!study || this.sending) return;
            const round = await this.api.get(['studies', study.id, 'rounds', index]);
            if (this.data.study && this.data.study.id === study.id && !this.sending) this.adoptRound(round);
        }

        adopt(study, rounds) {
            const before = this.current;
            const kept = rounds.filter((round) => round.status !== 'discarded');
            const now = kept[kept.length - 1] || null;
            // a round that was answered here and not there was refused: its picks come back from the shelf
            const still = before && now && before.status !== 'answered' && this.draftKey(before) === this.draftKey(now) && now.status !== 'answered';
            const open = before && !before.placeholder && before.status !== 'answered' && before.study === study.id;
            const lost = open && !still && this.data.draft.length;
            const looking = kept.some((round) => round.index === this.data.looking) ? this.data.looking : null;
            this.update({study, rounds: kept, looking, draft: still ? this.data.draft : this.draftOf(now)});
            if (lost) ns.toast('This round was answered in another window; here is where the study is now.', 'long');
        }

        adoptRound(round) {
            const rounds = this.data.rounds.filter((one) => one.index !== round.index && one.index < round.index);
            const known = this.data.rounds.find((one) => one.index === round.index);
            const fresh = !known || known.placeholder || known.status === 'answered' || this.draftKey(known) !== this.draftKey(round);
            this.update({rounds: [...rounds, round], draft: fresh ? this.draftOf(round) : this.data.draft});
        }

        /** Take over a study's new record, if it is still the one on screen. */
        adoptStudy(fresh) {
            if (this.data.study && this.data.study.id === fresh.id) this.update({study: fresh});
        }

        // -- following
        stopWatching() {
            if (this.watching) this.watching.abort();
            this.watching = null;
        }

        async watch(id) {
            this.stopWatching();
            const control = this.watching = new AbortController();
            let since = null;
            let instance = this.api.instance;
            for (let wait = 400; !control.signal.aborted;) {
                try {
                    const query = since === null ? {} : {since, timeout: POLL_SECONDS};
                    const progress = await this.api.get(['studies', id, 'progress'], query, control.signal);
                    const restarted = instance !== null && this.api.instance !== instance;
                    instance = this.api.instance;
                    if (progress.version !== since) await this.follow(progress, restarted || since === null);
                    since = progress.version;
                    wait = 400;
                    await sleep(POLL_GAP);
                } catch (error) {
                    if (control.signal.aborted) return;
                    if (error instanceof ns.ApiError && error.status === 404) {
                        ns.toast('This study was deleted in another window.');
                        this.close();
                        this.loadStudies().catch(ns.report);
                        return;
                    }
                    since = null;
                    await sleep(wait);
                    wait = Math.min(wait * 1.5, 3000);
                }
            }
        }

        /** Draw progress, and read again what it says has changed. */
        async follow(progress, all) {
            const before = this.data.progress;
            this.update({progress});
            const current = this.current;
            const sameJob = before && before.job === progress.job && before.round === progress.round;
            if (progress.job === 'round' && current && progress.round === current.index && !all) {
                if (!sameJob || before.done !== progress.done) await this.refreshRound(current.index);
            } else if (progress.job !== 'blind' || !sameJob) {
                await this.refresh();
            }
        }
    }

    ns.State = State;
    ns.shelf = shelf;
}());
