// A person picks among candidates while an image is made: a dialog over whatever page the person is on, in the webui's tabs too.
// Nothing is asked of the server unless somebody says that a person will be asked: see `watch`.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.picks) return;

    const {h, set, text, mark, button, sleep} = ns.base;
    const HOME = 'rankopt_picks';
    const POLL_SECONDS = 5;
    const POLL_GAP = 100;
    const QUIET = 10000; // how long a tab is watched after the last sign of a choice
    const SETTLE = 300; // a key meant for what lay below must not answer a choice that has just come up
    const GAP = 10;

    /** Where dialogs lie that belong to no board: the board itself may be on a hidden tab. */
    function home() {
        const found = document.getElementById(HOME) || h('div', {id: HOME}, h('div', {class: 'ro-root'}));
        if (!found.isConnected) document.body.append(found);
        set(found.firstChild, 'data-theme', ns.base.dark() ? 'dark' : 'light');
        return found.firstChild;
    }

    /** One open choice. */
    class Choice {
        constructor(picks, question) {
            this.picks = picks;
            this.question = question;
            this.final = question.step === question.steps;
            this.picked = new Set();
            this.opened = performance.now();
            this.hear = (event) => this.listen(event);
            this.build();
            this.sync(question);
            this.timer = setInterval(() => this.tick(), 250);
            addEventListener('keydown', this.hear, true);
            addEventListener('resize', this.fit);
        }

        build() {
            const {question, final} = this;
            const title = final ? 'Which one do you take?' : 'Which of these go on?';
            const where = final ? 'The images are finished.' : `Step ${question.step} of ${question.steps}: this is what they are going to be.`;
            this.below = document.title;
            document.title = `● ${title}`; // seen on the browser's tab by whoever is elsewhere meanwhile
            this.overlay = new ns.Overlay(title, 'ro-choose', home());
            this.overlay.onKey = (command, event) => this.key(command, event);
            this.overlay.onClose = () => this.end();
            this.overlay.dismiss = () => this.stop(); // Esc, also where the browser itself takes it
            this.options = question.rows.map((row, place) => this.option(row, place));
            this.grid = h('div', {class: 'ro-options', role: 'group', 'aria-label': 'Candidates'}, this.options);
            this.fit = () => this.layout();
            this.clock = h('span', {class: 'ro-dim ro-clock'});
            this.go = button('Continue', 'Enter', () => this.confirm(), {class: 'ro-primary', command: 'pick_go'});
            this.all = button('Continue all', 'A', () => this.send([]), {command: 'pick_all'});
            const stop = button('Stop', 'Escape', () => this.stop(), {class: 'ro-quiet', command: 'pick_stop'});
            this.overlay.open(h('h2', {}, title), h('p', {class: 'ro-dim'}, where, h('span', {class: 'ro-of'}, question.prompt)), this.grid,
                h('div', {class: 'ro-choices'}, this.clock, stop, final ? null : this.all, final ? null : this.go));
            this.overlay.element.tabIndex = -1;
            this.overlay.element.focus();
            this.layout();
            this.draw();
        }

        option(row, place) {
            const image = h('img', {alt: '', draggable: 'false', src: this.picks.api.url('picks', this.question.id, `${row}.jpg`), onload: () => this.layout()});
            return h('button', {type: 'button', class: 'ro-option', 'data-row': row, 'aria-label': `Candidate ${place + 1}`, onclick: (event) => {
                if (event.detail > 0) event.currentTarget.blur();
                this.pick(place);
            }}, image, place < 9 ? h('kbd', {class: 'ro-place', 'aria-hidden': 'true'}, place + 1) : null);
        }

        /** As big as the window lets them be. */
        layout() {
            const {naturalWidth: width, naturalHeight: height} = this.options[0].firstChild;
            const aspect = width && height ? width / height : 1;
            const {columns, tile} = ns.ranking.layout(this.options.length, innerWidth * 0.94 - 44, innerHeight * 0.94 - 190, aspect, GAP);
            this.columns = columns;
            this.grid.style.gridTemplateColumns = `repeat(${columns}, ${Math.min(tile, 520)}px)`;
            this.grid.style.setProperty('--ro-aspect', aspect);
        }

        draw() {
            this.options.forEach((option, place) => {
                mark(option, 'ro-picked', this.picked.has(place));
                if (!this.final) set(option, 'aria-pressed', String(this.picked.has(place)));
            });
            text(this.go.querySelector('.ro-label'), this.picked.size ? `Continue with ${this.picked.size}` : 'Continue');
            mark(this.go, 'ro-ready', this.picked.size > 0);
        }

        /** How much time is left, as the server says. */
        sync(question) {
            this.until = performance.now() + 1000 * question.seconds_left;
            this.tick();
        }

        tick() {
            const left = Math.ceil((this.until - performance.now()) / 1000);
            text(this.clock, left > 0 ? `${left} s left, then ${this.question.default}.` : `The time is over: ${this.question.default}.`);
            mark(this.clock, 'ro-soon', left <= 10);
        }

        pick(place) {
            if (!this.options[place]) return;
            if (this.final) {
                this.picked = new Set([place]);
                this.draw();
                this.send([this.question.rows[place]]);
                return;
            }
            if (!this.picked.delete(place)) this.picked.add(place);
            this.draw();
        }

        confirm() {
            if (this.final) ns.toast('Press the number of one image, or click it.');
            else if (this.picked.size) this.send([...this.picked].sort((a, b) => a - b).map((place) => this.question.rows[place]));
            else ns.toast('Pick at least one; A continues all.');
        }

        async send(rows) {
            if (this.sending) return;
            this.sending = true;
            const {picks, question} = this;
            try {
                await picks.api.post(['picks', question.id], {rows});
                picks.close(question.id);
            } catch (error) {
                // Another window was first, or the time was over: either way the run goes on, and nothing went wrong.
                if (error.status === 404) picks.close(question.id);
                else ns.report(error);
            } finally {
                this.sending = false;
            }
        }

        stop() {
            const {picks} = this;
            picks.close(this.question.id);
            picks.stop();
        }

        /** Where the board is on screen, it hands its keys to what lies on top; elsewhere nobody does. */
        listen(event) {
            if (ns.board && ns.board.visible) return;
            const presses = ['Enter', ' '].includes(event.key) && event.target instanceof Element && event.target.closest('.ro-button');
            if (presses || ns.topOverlay() !== this.overlay || !this.key(ns.keys.command(event), event)) return;
            event.preventDefault();
            event.stopPropagation();
        }

        key(command, event) {
            const asked = ns.selection.key(command);
            if (!asked) return false;
            if (event.repeat || performance.now() - this.opened < SETTLE) return true;
            if (asked.pick !== undefined) this.pick(asked.pick);
            else if (asked.all && !this.final) this.send([]);
            else if (asked.go) this.confirm();
            else if (asked.stop) this.stop();
            else if (asked.move) this.move(asked.move);
            return true;
        }

        move(direction) {
            const place = this.options.indexOf(document.activeElement);
            this.options[place < 0 ? 0 : ns.ranking.neighbour(place, direction, this.columns, this.options.length)].focus();
        }

        end() {
            clearInterval(this.timer);
            document.title = this.below;
            removeEventListener('keydown', this.hear, true);
            removeEventListener('resize', this.fit);
        }
    }

    /** Follows the open choices as long as somebody has a reason to. */
    class Picks {
        constructor() {
            this.reasons = new Map();
            this.closed = new Set();
            this.choice = null;
            this.control = null;
            this.seen = 0;
        }

        /** A client of its own: a poll that fails here says nothing about the board's connection. */
        get api() {
            const container = document.getElementById('rankopt_board');
            if (!this.client) this.client = new ns.Api((container && container.dataset.api) || 'rankopt/v1');
            return this.client;
        }

        /**
         * Show choices as they come, until `leave` is called or `alive` says no.
         * @param {string} name of who watches
         * @param {() => boolean} alive
         * @param {() => void} stop ends what is being made
         */
        watch(name, alive, stop) {
            this.reasons.set(name, {alive, stop});
            if (!this.control) this.follow();
        }

        leave(name) {
            if (this.reasons.delete(name) && !this.reasons.size && this.control) this.control.abort();
        }

        get going() {
            for (const [name, {alive}] of this.reasons) {
                if (!alive()) this.reasons.delete(name);
            }
            return this.reasons.size > 0;
        }

        async follow() {
            const control = this.control = new AbortController();
            let since = null;
            while (!control.signal.aborted && this.going) {
                try {
                    const query = since === null ? {} : {since, timeout: POLL_SECONDS};
                    const state = await this.api.get(['picks'], query, control.signal);
                    since = state.version;
                    this.show(state.questions);
                    await sleep(POLL_GAP);
                } catch (error) {
                    if (control.signal.aborted) break;
                    since = null;
                    await sleep(1500);
                }
            }
            this.control = null;
            if (this.going) this.follow(); // somebody came while the last poll was being ended
            else this.show([]);
        }

        show(questions) {
            const open = questions.filter((question) => !this.closed.has(question.id));
            if (open.length) this.seen = performance.now();
            const mine = this.choice && open.find((question) => question.id === this.choice.question.id);
            if (mine) this.choice.sync(mine);
            else if (this.choice) this.close(this.choice.question.id);
            if (!this.choice && open.length) this.choice = new Choice(this, open[0]);
        }

        /** This choice is over for this page. */
        close(id) {
            this.closed.add(id);
            const {choice} = this;
            if (!choice || choice.question.id !== id) return;
            this.choice = null;
            choice.overlay.close();
        }

        stop() {
            for (const {stop} of this.reasons.values()) stop();
        }
    }

    ns.picks = new Picks();

    // -- the webui's own tabs, whose accordion says who chooses
    /** Is the accordion on, and does a person choose? */
    function tabAsks(tab) {
        const name = `${tab}_rankopt_selection`;
        const on = document.getElementById(`${name}-visible-checkbox`) || document.querySelector(`#${name}-checkbox input`);
        const policy = document.querySelector(`#${name}_policy input, #${name}_policy select`);
        return Boolean(policy) && /^human\b/.test(policy.value.trim()) && (!on || on.checked);
    }

    /** Watch a tab from a press of its button until nothing is made there any more. */
    function watchTab(tab) {
        const pressed = performance.now();
        const interrupt = document.getElementById(`${tab}_interrupt`);
        const busy = () => Boolean(interrupt) && getComputedStyle(interrupt).display !== 'none';
        const alive = () => busy() || Boolean(ns.picks.choice) || performance.now() - Math.max(pressed, ns.picks.seen) < QUIET;
        ns.picks.watch(tab, alive, () => interrupt && interrupt.click());
    }

    document.addEventListener('click', (event) => {
        const pressed = event.target instanceof Element && event.target.closest('#txt2img_generate, #img2img_generate');
        const tab = pressed && pressed.id.split('_')[0];
        if (tab && tabAsks(tab)) watchTab(tab);
    }, true);
}());
