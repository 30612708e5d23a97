// A scorer's numbers on the images, where somebody has asked for them. They are for looking: no order and no ranking knows of them.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Scores) return;

    const {set, text} = ns.base;
    const {scoring} = ns;
    const NONE = new Map();
    const PATIENCE = 3000; // until a server that was away is asked again

    class Scores {
        /** @param {ns.State} state */
        constructor(state) {
            this.state = state;
            this.api = state.api;
            this.chosen = new Map(); // by study, as long as the page is open
            this.known = new Map(); // by round and scorer, then by candidate
            this.infos = new Map();
            this.warned = new Set();
            this.busy = null;
            this.waiting = null;
        }

        /** The scorer whose numbers are shown in the study on screen; null while nothing may be shown. */
        get scorer() {
            const {study, blind} = this.state.data;
            return (study && !blind && this.chosen.get(study.id)) || null;
        }

        key(round, scorer) {
            return JSON.stringify([this.state.draftKey(round), scorer]);
        }

        /** Numbers of a round by candidate. */
        of(round) {
            const {scorer} = this;
            return (scorer && round && this.known.get(this.key(round, scorer))) || NONE;
        }

        /** What a number of the chosen scorer means. */
        get meaning() {
            return this.scorer ? scoring.meaning(this.infos.get(this.scorer) || {name: this.scorer}) : '';
        }

        /** One line about what is going on; empty where nothing is asked for. */
        get words() {
            const {scorer} = this;
            if (!scorer) return '';
            const info = this.infos.get(scorer) || {};
            if (this.busy) return `${this.busy} ${(this.infos.get(this.busy) || {}).version ? 'is scoring…' : 'is loading, then scoring…'}`;
            return info.warning ? `Scores by ${scorer} · ${info.warning}` : `Scores by ${scorer}`;
        }

        /** All scorers as the server knows them. */
        async list() {
            const infos = await this.api.get(['scorers']);
            this.infos = new Map(infos.map((info) => [info.name, info]));
            return infos;
        }

        /** Show a scorer's numbers in this study from now on; none for an empty name. */
        choose(scorer) {
            const {study} = this.state.data;
            if (!study) return;
            if (scorer) this.chosen.set(study.id, scorer);
            else this.chosen.delete(study.id);
            this.state.update({});
        }

        /** Ask for what the round on screen lacks; called whenever the page is drawn, before it is. */
        follow() {
            const {scorer} = this;
            const round = this.state.shown;
            if (!scorer || this.busy || this.waiting || !scoring.lacking(round, this.of(round)).length) return;
            this.busy = scorer;
            this.ask(round, scorer);
        }

        async ask(round, scorer) {
            try {
                const scored = await this.api.post(['studies', round.study, 'rounds', round.index, 'scores'], {scorer});
                const found = scoring.numbers(scored, scorer);
                this.known.set(this.key(round, scorer), found);
                if (scoring.lacking(round, found).length) this.later(); // the server has another round there, and this page will hear of it
                await this.learn(scorer);
            } catch (error) {
                this.fail(round, scorer, error);
            } finally {
                this.busy = null;
                this.state.update({});
            }
        }

        /** What a scorer's numbers mean is known once it has been loaded; what speaks against them is said once. */
        async learn(scorer) {
            if (!(this.infos.get(scorer) || {}).version) await this.list();
            const {warning} = this.infos.get(scorer) || {};
            if (!warning || this.warned.has(scorer)) return;
            this.warned.add(scorer);
            ns.toast(`${scorer}: ${warning}`, 'long');
        }

        fail(round, scorer, error) {
            if (error instanceof ns.Offline) {
                this.later();
                return;
            }
            // the round may have been taken back meanwhile, or the study deleted
            const gone = error.status === 404 && !this.state.data.rounds.some((one) => one.study === round.study && this.state.draftKey(one) === this.state.draftKey(round));
            if (gone) return;
            if (this.chosen.get(round.study) === scorer) this.chosen.delete(round.study);
            ns.report(error);
        }

        /** Try again in a while. */
        later() {
            this.waiting = setTimeout(() => {
                this.waiting = null;
                this.state.update({});
            }, PATIENCE);
        }
    }

    /** Write a number into the corner of an image, or take it away. */
    ns.drawScore = function (corner, value, meaning) {
        text(corner, value === undefined ? '' : scoring.digits(value));
        set(corner, 'title', value === undefined ? null : meaning);
    };

    ns.Scores = Scores;
}());
