// "Try it": a finished LoRA against the model without it, blind, with prompts that the person gives.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.openTry) return;

    const {h, text, button, clamp, sleep, plural} = ns.base;
    const POLL_GAP = 700;
    const TRIALS = 8;
    const MOST = 50;

    /** The blind test's overlay, with images that are made while the first ones are looked at. */
    class Try extends ns.Blind {
        /** @param {() => void} again asks for another one */
        constructor(state, again) {
            super(state, 'Try it, blind');
            this.intro = () => {
                this.overlay.close();
                again();
            };
            this.overlay.element.tabIndex = -1;
            this.overlay.element.focus(); // not the button that closes: Enter must not end it
            const closed = this.overlay.onClose;
            this.overlay.onClose = () => {
                this.left = true; // whoever leaves has ended it: nothing is asked or shown any more
                const whole = !this.about || this.about.result || this.about.made === this.about.wanted;
                if (!whole) this.api.remove(['training', 'tries', this.about.id]).catch(() => {});
                closed();
            };
        }

        async begins(run, wish) {
            this.wait('Preparing the images…');
            try {
                this.next(await this.api.post(['training', 'runs', run.id, 'tries'], wish));
            } catch (error) {
                this.overlay.close();
                ns.report(error);
            }
        }

        wait(sentence) {
            this.trial = null;
            text(this.title, this.about ? `Trial ${this.about.answered + 1} of ${this.about.trials}` : '');
            if (!this.words || !this.words.isConnected) {
                this.words = h('p', {role: 'status'});
                this.body.replaceChildren(h('div', {class: 'ro-card-text'}, this.words));
            }
            text(this.words, sentence);
        }

        /** Show what the server says: a trial, the result, or how far the images are. */
        next(about) {
            if (this.left) return;
            this.about = about;
            if (about.result) this.finish(about.result);
            else if (about.state === 'failed') {
                this.overlay.close();
                ns.report(about.error || 'The images could not be made.');
            } else if (about.trial) {
                this.show(about.trial);
                this.count();
            } else {
                this.wait(about.made < about.wanted ? `Making images, ${Math.min(about.made + 1, about.wanted)} of ${about.wanted}` : 'Reckoning…');
                this.follow();
            }
        }

        /** Ask again until there is something to look at; one request at a time. */
        async follow() {
            for (let gap = POLL_GAP; !this.left; gap = Math.min(gap * 1.5, 5000)) {
                await sleep(gap);
                if (this.left) return;
                try {
                    this.next(await this.api.get(['training', 'tries', this.about.id]));
                    return;
                } catch (error) {
                    if (error instanceof ns.Offline) continue;
                    this.overlay.close();
                    ns.report(error);
                    return;
                }
            }
        }

        count() {
            text(this.title, `Trial ${this.about.answered + 1} of ${this.about.trials} · ← left · → right · ↓ no difference`);
        }

        source(trial, side) {
            return this.api.url('training', 'tries', this.about.id, trial.index, `${side}.png`);
        }

        show(trial) {
            super.show(trial);
            this.body.prepend(h('p', {class: 'ro-dim ro-prompt'}, trial.prompt));
        }

        send(choice) {
            return this.api.post(['training', 'tries', this.about.id, 'trials', this.trial.index], {choice});
        }

        read() {
            return this.api.get(['training', 'tries', this.about.id]);
        }
    }

    /** Ask with what to try a LoRA, then try it. */
    ns.openTry = function (state, run, lora) {
        const prompts = h('textarea', {class: 'ro-input', id: 'rankopt_try_prompts', rows: '5'});
        prompts.value = (run.prompts || []).join('\n');
        const trials = h('input', {class: 'ro-input', id: 'rankopt_try_trials', type: 'number', min: '1', max: String(MOST), step: '1', value: String(TRIALS)});
        const weight = h('input', {class: 'ro-input', id: 'rankopt_try_weight', type: 'number', step: '0.1', value: '1'});
        const begin = () => {
            const number = (field, usual) => (field.value === '' ? usual : Number(field.value));
            const wish = {
                lora, prompts: prompts.value.split('\n').map((one) => one.trim()).filter(Boolean),
                trials: clamp(Math.round(number(trials, TRIALS)), 1, MOST), weight: number(weight, 1),
            };
            new Try(state, () => ns.openTry(state, run, lora)).begins(run, wish);
        };
        const overlay = ns.dialog('Try it, blind', [
            h('p', {}, `Two images at a time from the same noise, one of them with “${lora}”, left and right by chance. Choose the one that you like better; which was which is told at the end.`),
            h('label', {class: 'ro-setting', for: 'rankopt_try_prompts'}, h('span', {class: 'ro-setting-name'}, 'Prompts'), prompts,
                h('small', {class: 'ro-dim'}, `One a line. Empty: ${run.prompts && run.prompts.length ? plural(run.prompts.length, 'prompt') : 'prompts'} that the training has not seen.`)),
            h('label', {class: 'ro-field', for: 'rankopt_try_trials'}, 'Trials', trials),
            h('label', {class: 'ro-field', for: 'rankopt_try_weight'}, 'Weight of the LoRA', weight),
        ], [
            {label: 'Cancel', key: 'Escape'},
            {label: 'Begin', key: 'Enter', class: 'ro-primary', run: begin},
        ]);
        const keys = overlay.onKey;
        overlay.onKey = (command, event) => !(event.key === 'Enter' && event.target === prompts) && keys(command, event); // Enter there is a new line
    };
}());
