// What a person can do. Every action shows at once and is sent behind; what the server refuses is said and read again.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Actions) return;

    const {plural, ordinal, token} = ns.base;
    const OUTBOX = 'rankopt:outbox';

    class Actions {
        /** @param {ns.State} state */
        constructor(state) {
            this.state = state;
            this.api = state.api;
            this.line = Promise.resolve();
            this.readyAt = new Map();
            this.creating = null;
        }

        /** Run something that talks to the server, one after the other; failures are said once. */
        queue(work) {
            this.state.sending++;
            const done = this.line.then(work).catch((error) => {
                ns.report(error);
                this.state.update({rounds: this.state.data.rounds.filter((round) => !round.placeholder)});
            }).finally(() => {
                this.state.sending--;
                if (!this.state.sending) return this.state.refresh().catch(() => {});
                return null;
            });
            this.line = done;
            return done;
        }

        // -- ranking
        /** Place an image or take it back. */
        rank(id, tie) {
            const {state} = this;
            const candidate = state.cards.find((one) => one.id === id);
            if (!candidate) return;
            if (state.shown.placeholder) {
                ns.toast('This image is not finished yet.');
                return;
            }
            if (!state.open) {
                ns.toast(state.data.looking === null ? 'This round is answered; U takes the answer back.' : 'This is an earlier round; branch from it to rank it anew.');
                return;
            }
            if (state.data.study.auto) {
                this.takeOver();
                return;
            }
            if (!candidate.image) {
                ns.toast('This image is not finished yet.');
                return;
            }
            state.setDraft(ns.ranking.toggle(state.data.draft, id, tie || state.data.tie));
            const tier = ns.ranking.tierOf(state.data.draft, id);
            const name = `Image ${state.cards.indexOf(candidate) + 1}`;
            ns.say(tier ? `${name} is ${ordinal(tier)}` : `${name} is taken back`);
        }

        /** Rank by place on screen. */
        place(index, tie) {
            const candidate = this.state.cards[index];
            if (candidate) this.rank(candidate.id, tie);
        }

        /** Like, dislike, or neither when pressed again. */
        like(id, wanted) {
            const round = this.state.shown;
            const candidate = round && round.candidates.find((one) => one.id === id);
            if (!candidate || !candidate.image) return;
            const value = candidate.liked === wanted ? null : wanted;
            const kind = value === null ? 'unlike' : (value ? 'like' : 'dislike');
            this.patchRound(round.index, {candidates: round.candidates.map((one) => (one.id === id ? {...one, liked: value} : one))});
            ns.say({like: 'Liked', dislike: 'Disliked', unlike: 'Neither liked nor disliked'}[kind]);
            this.answer(round, {kind, tiers: [[id]], shown: round.order, token: token()});
        }

        /** Enter: send the ranking and go on, or whatever the round needs. */
        confirm() {
            const {state} = this;
            const round = state.current;
            if (state.data.looking !== null) {
                state.update({looking: null});
                return;
            }
            if (!round || round.status === 'answered') {
                this.nextRound();
                return;
            }
            const missing = round.candidates.length - state.finished;
            if (round.placeholder || ['queued', 'generating'].includes(round.status)) {
                ns.toast(missing ? `Still making ${plural(missing, 'image')}. Esc stops and ranks what is there.` : 'The round is being made.');
            } else if (state.finished < 2) {
                this.nextRound();
            } else if (state.data.draft.length) {
                this.close('ranking', state.data.draft);
            } else if (round.candidates.some((one) => one.liked !== null)) {
                this.nextRound();
            } else {
                ns.askEmpty(this);
            }
        }

        /** Answer the current round and start the next one; the page does not wait for either. */
        close(kind, tiers) {
            const {state} = this;
            const round = state.current;
            if (round && ['queued', 'generating'].includes(round.status)) {
                ns.toast('Still making images. Esc stops and ranks what is there.');
                return;
            }
            if (!state.open || round.candidates.every((one) => !one.image)) {
                ns.toast('There is nothing to answer yet.');
                return;
            }
            if (state.data.study.auto) this.takeOver();
            const shown = round.order.filter((id) => round.candidates.find((one) => one.id === id).image);
            const started = this.readyAt.get(state.draftKey(round));
            const latency = started === undefined ? null : Math.round(performance.now() - started);
            const body = {kind, tiers, shown, token: token(), latency_ms: latency};
            const draftKey = state.draftKey(round);
            const answered = {...round, status: 'answered', tiers, answered_by: ns.rater.name, best: tiers.length ? tiers[0][0] : round.incumbent};
            const rounds = [...state.data.rounds.slice(0, -1), answered, placeholder(round)];
            state.update({rounds, draft: [], tie: false, focus: null});
            this.answer(round, body, () => {
                ns.shelf.set(draftKey, null);
                return this.advance(round.study);
            });
        }

        /** Send an answer; kept in the browser until the server has it, and sent again after a break or a reload. */
        answer(round, body, then) {
            const item = {study: round.study, index: round.index, body: {rater: ns.rater.name, ...body}};
            ns.shelf.set(OUTBOX, [...(ns.shelf.get(OUTBOX) || []), item]);
            return this.queue(async () => {
                await this.deliver(item);
                if (then) await then();
            });
        }

        async deliver(item) {
            try {
                const parts = ['studies', item.study, 'rounds', item.index, 'feedback'];
                await this.api.persist('POST', parts, item.body);
                document.dispatchEvent(new CustomEvent('rankopt:acknowledged', {detail: item}));
            } finally {
                const left = (ns.shelf.get(OUTBOX) || []).filter((one) => one.body.token !== item.body.token);
                ns.shelf.set(OUTBOX, left.length ? left : null);
            }
        }

        /** Send what an earlier page could not. */
        flush() {
            for (const item of ns.shelf.get(OUTBOX) || []) this.queue(() => this.deliver(item));
        }

        skip() {
            this.close('skip', []);
        }

        noneBetter() {
            this.close('none_better', []);
        }

        // -- rounds
        nextRound() {
            const {study} = this.state.data;
            if (!study) return;
            const current = this.state.current;
            const model = current || {study: study.id, index: -1, order: new Array(study.settings.candidates).fill('')};
            if (!current || current.status === 'answered') {
                this.state.update({rounds: [...this.state.data.rounds, placeholder(model)], draft: [], looking: null});
            }
            this.queue(() => this.advance(study.id));
        }

        /** Start a round. A refusal as "conflict" means that somebody else did, and reading again shows it. */
        async advance(study) {
            const {auto} = this.state.data.study || {};
            if (auto) return;
            try {
                const round = await this.api.persist('POST', ['studies', study, 'rounds'], {});
                if (this.state.data.study && this.state.data.study.id === study) this.state.adoptRound(round);
            } catch (error) {
                if (error.status !== 409) throw error;
            }
        }

        undo() {
            const {study} = this.state.data;
            if (!study) return;
            if (this.state.data.draft.length) {
                const draft = this.state.data.draft;
                const last = draft[draft.length - 1];
                this.state.setDraft([...draft.slice(0, -1), last.slice(0, -1)].filter((tier) => tier.length));
                ns.say('Taken back');
                return;
            }
            const answered = this.state.data.rounds.filter((one) => one.status === 'answered');
            const by = answered.length ? String(answered[answered.length - 1].answered_by) : '';
            const rater = by.startsWith('auto:') ? by : ns.rater.name;
            this.queue(async () => {
                const round = await this.api.post(['studies', study.id, 'undo'], {rater});
                ns.shelf.set(this.state.draftKey(round), null);
                if (!this.state.data.study || this.state.data.study.id !== study.id) return;
                if (round.status === 'answered') {
                    this.patchRound(round.index, round);
                    ns.say('Taken back');
                    return;
                }
                this.state.update({rounds: this.state.data.rounds.filter((one) => one.index < round.index), looking: null});
                this.state.adoptRound(round);
                ns.toast(`Round ${round.index + 1} is open again.`);
            });
        }

        interrupt() {
            const {study} = this.state.data;
            if (study) this.queue(() => this.api.post(['studies', study.id, 'interrupt']));
        }

        look(index) {
            const current = this.state.current;
            this.state.update({looking: current && current.index === index ? null : index, focus: null});
        }

        branch(index) {
            const {study} = this.state.data;
            this.queue(async () => {
                const made = await this.api.post(['studies', study.id, 'branch'], {after_round: index});
                ns.toast(`Branched after round ${index + 1}: “${made.name}”.`);
                await this.state.visit(made.id);
            });
        }

        /** Load the study's model, where this page can ask the webui for that, and make the round again. */
        loadModel() {
            const {data} = this.state;
            const {model} = data.study.settings;
            // Forge loads what its menu changes to, and the menu of this page may show the model already, after a change by another page
            const chosen = document.getElementById('forge_ui_preset') ? [model, data.host.loaded, model] : [model];
            ns.toast(`Loading ${model}…`);
            return this.queue(async () => {
                for (let tries = 0; tries < 240; tries++) {
                    if (tries % 4 === 0 && chosen.length) globalThis.selectCheckpoint(chosen.shift());
                    await this.state.loadHost();
                    if (this.state.data.host.loaded === model) {
                        await this.advance(this.state.data.study.id);
                        return;
                    }
                    await ns.base.sleep(500);
                }
                ns.toast(`The webui has not loaded ${model}; see its console.`, 'error');
            });
        }

        /** Go on with another model from what is preferred so far: a branch after the last answer, or a new study where there is none. */
        goOnWith(model) {
            const {study, rounds} = this.state.data;
            const answered = rounds.filter((one) => one.status === 'answered');
            const changes = {model, host_settings: {}};
            return this.queue(async () => {
                const made = answered.length
                    ? await this.api.post(['studies', study.id, 'branch'], {after_round: answered[answered.length - 1].index, changes})
                    : await this.api.post(['studies'], {settings: {...study.settings, ...changes}, name: study.name});
                await this.state.visit(made.id);
                await this.advance(made.id);
            });
        }

        // -- studies
        /** Create a study from the form's values and open it with its first round; a picture to start from goes before. */
        create(body, auto, picture) {
            if (this.creating) return this.creating;
            ns.toast('Making the study…');
            this.creating = this.queue(async () => {
                if (picture) body.settings.init_image = (await this.api.upload(picture)).image;
                const study = await this.api.post(['studies'], body);
                await this.state.visit(study.id);
                if (auto) this.state.adoptStudy(await this.api.post(['studies', study.id, 'auto'], auto));
                else await this.advance(study.id);
            }).finally(() => {
                this.creating = null;
            });
            return this.creating;
        }

        rename(study, name) {
            this.queue(async () => {
                const fresh = await this.api.patch(['studies', study.id], {name});
                this.state.adoptStudy(fresh);
                if (this.state.data.studies) await this.state.loadStudies();
            });
        }

        remove(study) {
            this.queue(async () => {
                await this.api.remove(['studies', study.id]);
                await this.state.loadStudies();
                ns.toast(`“${study.name}” is deleted.`);
            });
        }

        // -- automatic mode
        startAuto(scorer, rounds) {
            const {study} = this.state.data;
            this.queue(async () => this.state.adoptStudy(await this.api.post(['studies', study.id, 'auto'], {scorer, rounds})));
        }

        takeOver() {
            const {study} = this.state.data;
            if (!study || !study.auto) return;
            this.state.update({study: {...study, auto: null}});
            ns.toast('You have taken over.');
            this.queue(async () => this.state.adoptStudy(await this.api.remove(['studies', study.id, 'auto'])));
        }

        patchRound(index, patch) {
            this.state.update({rounds: this.state.data.rounds.map((round) => (round.index === index ? {...round, ...patch} : round))});
        }
    }

    /** The next round before the server has named its images. */
    function placeholder(round) {
        const order = round.order.map((_, index) => `next-${index}`);
        const candidates = order.map((id, index) => ({id, index, origin: '', latent: '', image: null, scores: {}, liked: null}));
        return {study: round.study, index: round.index + 1, status: 'queued', placeholder: true, candidates, order, incumbent: null, best: null, tiers: []};
    }

    ns.Actions = Actions;
}());
