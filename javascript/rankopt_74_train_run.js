// One training run on screen: how far it is, its curves, sample sheets, finished LoRAs, and what can be told to it.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.RunView) return;

    const {h, set, text, mark, button, clamp, duration, plural, sleep} = ns.base;
    const GAP = 1000;
    const GAP_UNSEEN = 2000;
    const GAP_MOST = 15000;
    const BUSY = new Set(['queued', 'preparing', 'training']);
    const WORDS = {queued: 'waiting for its turn', preparing: 'preparing', training: 'training', paused: 'paused', finished: 'finished', cancelled: 'cancelled', failed: 'failed'};
    const DRIFTS = ['winner_drift', 'loser_drift', 'expert_drift', 'sample_drift'];
    const PLOTS = [
        {title: 'Loss', lines: [{name: 'loss', label: 'loss'}]},
        {title: 'Drift from the base model', about: 'Below 0: explained better than before.', zero: true, lines: [
            {name: 'winner_drift', label: 'better image'}, {name: 'loser_drift', label: 'worse image', tone: 'second'},
            {name: 'expert_drift', label: 'expert'}, {name: 'sample_drift', label: 'own sample', tone: 'second'},
            {name: 'drift', label: 'image', unless: DRIFTS},
        ]},
        {title: 'Right on held-out prompts', about: 'Dashed: guessing.', low: 0, high: 1, half: 0.5, lines: [{name: 'implicit_accuracy', label: 'share', held: true}]},
        {title: 'Gradient norm', zero: true, lines: [{name: 'gradient_norm', label: 'norm'}]},
    ];

    ns.runs = {
        /** Is it worth asking again? A paused or cancelled run may still be writing its files. */
        moves: (run) => BUSY.has(run.state) || Boolean(run.running),
        words: (run) => WORDS[run.state] || run.state,
    };

    /** Sheets of samples: the newest, or the one that the slider is at. */
    class Samples {
        constructor(api) {
            this.api = api;
            this.image = h('img', {alt: '', class: 'ro-sheet'});
            this.range = h('input', {type: 'range', class: 'ro-steps', min: '0', step: '1', 'aria-label': 'Step of the samples', oninput: () => this.choose()});
            this.caption = h('span', {'aria-live': 'polite'});
            this.rows = h('ol', {class: 'ro-dim ro-sheet-rows', 'aria-label': 'Prompts of the rows'});
            this.element = h('figure', {class: 'ro-samples', hidden: true},
                h('figcaption', {}, h('strong', {}, 'Samples'), this.caption, h('span', {class: 'ro-dim'}, 'columns: without, half, with the LoRA')),
                this.range, h('button', {type: 'button', class: 'ro-sheet-open', title: 'Fill the window', 'aria-label': 'Show the samples in the whole window', onclick: () => this.enlarge()}, this.image), this.rows);
        }

        draw(run) {
            if (this.run !== run.id) this.newest = true;
            this.run = run.id;
            this.steps = run.samples || [];
            this.rows.replaceChildren(...(run.sample_prompts || []).map((prompt) => h('li', {}, prompt)));
            set(this.element, 'hidden', !this.steps.length);
            if (!this.steps.length) return;
            const place = this.newest ? this.steps.length - 1 : Math.max(0, this.steps.indexOf(this.step));
            set(this.range, 'max', this.steps.length - 1);
            set(this.range, 'hidden', this.steps.length < 2);
            this.range.value = place;
            this.show(place);
        }

        choose() {
            this.newest = Number(this.range.value) === this.steps.length - 1; // whoever looks back is not torn away by the next sheet
            this.show(Number(this.range.value));
        }

        show(place) {
            this.step = this.steps[place];
            set(this.range, 'aria-valuetext', `step ${this.step}`);
            text(this.caption, `step ${this.step}`);
            set(this.image, 'src', this.api.url('training', 'runs', this.run, 'samples', this.step));
            set(this.image, 'alt', `Samples at step ${this.step}: a row for each prompt; columns without, with half of, and with the LoRA`);
        }

        enlarge() {
            const overlay = new ns.Overlay('Samples', 'ro-viewer');
            overlay.onKey = (command) => Boolean(command) && ['escape', 'zoom'].includes(command.name) && (overlay.close(), true);
            overlay.open(h('div', {class: 'ro-viewbar'}, h('span', {class: 'ro-viewtitle'}, `Step ${this.step} · without, half, with the LoRA`),
                button('Close', 'Esc', () => overlay.close(), {icon: 'close', iconOnly: true})),
            h('div', {class: 'ro-whole'}, h('img', {src: this.image.src, alt: this.image.alt})));
        }
    }

    /** Put a text on the clipboard, or at least mark it to be copied by hand: on plain http there is no clipboard. */
    async function copy(words, element) {
        try {
            await navigator.clipboard.writeText(words);
            ns.toast(`Copied ${words}`);
        } catch (_) {
            getSelection().selectAllChildren(element);
            ns.toast('Marked: copy it with Ctrl+C.');
        }
    }

    class RunView {
        /** @param {{adopt: (run: object) => void, lost: (id: string) => void}} page is told what has become of a run */
        constructor(state, page) {
            this.state = state;
            this.api = state.api;
            this.page = page;
            this.run = null;
            this.control = null;
            this.plots = PLOTS.map((spec) => new ns.Plot(spec));
            this.samples = new Samples(this.api);
            this.element = h('article', {class: 'ro-run', 'aria-label': 'Training run', hidden: true}, this.head(), this.notes(),
                h('div', {class: 'ro-plots'}, this.plots.map((plot) => plot.element)), this.samples.element, this.finished);
        }

        head() {
            this.name = h('h2', {});
            this.about = h('span', {class: 'ro-dim'});
            this.pill = h('span', {class: 'ro-pill'});
            this.fill = h('span', {class: 'ro-fill'});
            this.meter = h('div', {class: 'ro-meter', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-label': 'Training'}, this.fill);
            this.words = h('span', {class: 'ro-words'});
            const tell = (label, command, run, more) => button(label, null, run, {command: `${command}_training`, ...more});
            this.pause = tell('Pause', 'pause', () => this.tell('pause'));
            this.cancel = tell('Cancel', 'cancel', () => this.askCancel(), {class: 'ro-danger'});
            this.resume = tell('Resume', 'resume', () => this.tell('resume'), {class: 'ro-primary'});
            this.hint = h('p', {class: 'ro-dim ro-plain'}, 'Pausing frees the graphics card and gives the model back to image making.');
            return h('header', {class: 'ro-run-head'}, h('div', {class: 'ro-run-title'}, this.name, this.pill, this.about),
                h('div', {class: 'ro-run-line ro-working'}, this.meter, this.words, h('span', {class: 'ro-run-commands'}, this.pause, this.cancel, this.resume)), this.hint);
        }

        notes() {
            this.alarms = h('div', {class: 'ro-banner ro-away ro-alarms', role: 'alert', hidden: true});
            this.error = h('div', {class: 'ro-banner ro-failure', role: 'alert', hidden: true});
            this.summary = h('div', {class: 'ro-summary'});
            this.outputs = h('ul', {class: 'ro-outputs'});
            this.where = h('p', {class: 'ro-dim ro-plain'});
            this.finished = h('section', {class: 'ro-finished', 'aria-label': 'Finished LoRAs', hidden: true}, h('h3', {}, 'Finished LoRAs'), this.outputs, this.where);
            return h('div', {class: 'ro-notes'}, this.error, this.alarms, this.summary);
        }

        // -- reading
        /** Put a run on screen and follow it as long as it moves. */
        open(id) {
            if (!this.run || this.run.id !== id) {
                this.run = null;
                this.metrics = new ns.curves.Metrics();
                this.after = -1;
                this.drawn = {};
                set(this.element, 'hidden', true);
            }
            this.id = id;
            this.follow();
        }

        close() {
            if (this.control) this.control.abort();
            this.control = null;
            this.id = null;
            this.run = null;
            set(this.element, 'hidden', true);
        }

        /** Ask again and again, one request at a time, until nothing moves any more. */
        async follow() {
            if (this.control) this.control.abort();
            const {signal} = this.control = new AbortController();
            for (let away = 0; !signal.aborted;) {
                try {
                    const {run, metrics} = await this.api.get(['training', 'runs', this.id], {after: this.after}, signal);
                    if (signal.aborted) return;
                    this.take(run, metrics);
                    if (!ns.runs.moves(run)) return;
                    away = 0;
                } catch (error) {
                    if (signal.aborted) return;
                    if (!(error instanceof ns.Offline)) {
                        this.page.lost(this.id);
                        ns.report(error);
                        return;
                    }
                    away++;
                }
                await sleep(Math.min((document.hidden || !this.element.getClientRects().length ? GAP_UNSEEN : GAP) * 1.6 ** away, GAP_MOST));
            }
        }

        take(run, metrics) {
            // A run that went on from its last checkpoint does steps anew that are known already: they are read again.
            const anew = this.run && run.state === 'training' && (this.run.state !== 'training' || run.step < this.run.step);
            this.metrics.add(metrics);
            this.after = anew ? -1 : (run.state === 'training' ? Math.min(this.metrics.last, run.step) : this.metrics.last);
            if (metrics.length || !this.run) for (const plot of this.plots) plot.draw(this.metrics);
            this.adopt(run);
        }

        adopt(run) {
            const before = this.run;
            this.run = run;
            if (before && before.state !== run.state) ns.say(`${run.name}: ${ns.runs.words(run)}`);
            this.draw();
            this.page.adopt(run);
        }

        // -- telling
        async tell(what) {
            if (this.telling) return;
            const {id} = this.run;
            this.telling = what;
            this.draw();
            try {
                const run = await this.api.post(['training', 'runs', id, what]);
                if (this.id !== id) return;
                this.asked = what === 'resume' ? null : {id, what};
                this.telling = null;
                this.adopt(run);
                this.follow();
            } catch (error) {
                ns.report(error);
            } finally {
                this.telling = null;
                if (this.run) this.draw();
            }
        }

        askCancel() {
            ns.dialog('Cancel this run?', h('p', {}, `“${this.run.name}” stops for good after step ${this.run.step}. LoRA files that are written already stay. To go on later, pause instead.`), [
                {label: 'Go on training', key: 'Escape', class: 'ro-primary'},
                {label: 'Cancel the run', class: 'ro-danger', run: () => this.tell('cancel')},
            ]);
        }

        // -- drawing
        draw() {
            const {run} = this;
            set(this.element, 'hidden', false);
            set(this.element, 'data-run', run.id);
            set(this.element, 'data-state', run.state);
            text(this.name, run.name);
            text(this.about, `${run.objective} · on ${run.base}`);
            text(this.pill, ns.runs.words(run));
            set(this.pill, 'data-state', run.state);
            const fraction = run.steps ? clamp(run.step / run.steps, 0, 1) : 0;
            this.fill.style.transform = `scaleX(${fraction})`;
            set(this.meter, 'aria-valuenow', Math.round(fraction * 100));
            text(this.words, progress(run));
            this.drawCommands();
            this.drawNotes();
            this.samples.draw(run);
            this.drawOutputs();
        }

        drawCommands() {
            const {run} = this;
            const busy = BUSY.has(run.state);
            const asked = busy && ((this.asked && this.asked.id === run.id && this.asked.what) || this.telling); // it stops after the step that it is at
            text(this.pause.querySelector('.ro-label'), asked === 'pause' ? 'Pausing…' : 'Pause');
            text(this.cancel.querySelector('.ro-label'), asked === 'cancel' ? 'Cancelling…' : 'Cancel');
            for (const one of [this.pause, this.cancel]) {
                set(one, 'hidden', !busy);
                set(one, 'disabled', Boolean(asked));
            }
            set(this.resume, 'hidden', !['paused', 'failed'].includes(run.state));
            set(this.resume, 'disabled', Boolean(this.telling) || Boolean(run.running));
            set(this.hint, 'hidden', !busy);
        }

        drawNotes() {
            const {run} = this;
            text(this.error, run.error || '');
            set(this.error, 'hidden', !run.error);
            const fresh = (name, value) => JSON.stringify(value) !== this.drawn[name] && Boolean(this.drawn[name] = JSON.stringify(value));
            if (fresh('alarms', run.alarms)) {
                this.alarms.replaceChildren(h('ul', {}, run.alarms.map((one) => h('li', {}, one))));
                set(this.alarms, 'hidden', !run.alarms.length);
            }
            if (fresh('summary', run.summary)) this.summary.replaceChildren(...run.summary.map((one) => h('p', {}, one)));
        }

        drawOutputs() {
            const {run} = this;
            const key = JSON.stringify([run.outputs, run.best, run.prompts]);
            text(this.where, this.page.folder ? `In ${this.page.folder}` : '');
            if (this.drawn.outputs === key) return;
            if (this.drawn.outputs !== undefined) renewCards();
            this.drawn.outputs = key;
            set(this.finished, 'hidden', !run.outputs.length);
            this.outputs.replaceChildren(...run.outputs.map((name) => this.output(name, run)).reverse());
        }

        output(name, run) {
            const words = `<lora:${name}:1>`;
            const code = h('code', {}, words);
            return h('li', {class: 'ro-output', 'data-lora': name}, h('span', {class: 'ro-output-name'}, code, name === run.best ? h('span', {class: 'ro-pill ro-best'}, 'best') : null),
                button('Copy', null, () => copy(words, code), {command: 'copy_lora'}),
                button('Try it, blind', null, () => ns.openTry(this.state, this.run, name), {command: 'try_lora', icon: 'blind'}));
        }
    }

    /** "Encoding images, 20 of 200 · step 0 of 400 · about 3 min left". */
    function progress(run) {
        const stage = run.stage && run.stage !== WORDS[run.state] ? run.stage.charAt(0).toUpperCase() + run.stage.slice(1) : '';
        const left = BUSY.has(run.state) ? duration(run.eta_seconds) : '';
        return [stage, run.steps ? `step ${run.step} of ${run.steps}` : plural(run.step, 'step'), left ? `${left} left` : ''].filter(Boolean).join(' · ');
    }

    /** Let the webui's own tabs show the new file among their extra networks; without a webui there are no such buttons. */
    function renewCards() {
        for (const tab of ['txt2img', 'img2img']) {
            const refresh = document.getElementById(`${tab}_lora_extra_refresh`);
            if (refresh) refresh.click();
        }
    }

    ns.RunView = RunView;
}());
