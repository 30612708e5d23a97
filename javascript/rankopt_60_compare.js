// Start versus now: as a slider, and as a blind test.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.openSlider) return;

    const {h, set, text, button, mark} = ns.base;

    /** Two images over each other with a line to drag; the range input gives keyboard and touch for free. */
    ns.openSlider = function (state) {
        const {study} = state.data;
        if (!study.start_image || !study.now_image) {
            ns.toast('Answer a round first: there is nothing to compare yet.');
            return;
        }
        const overlay = new ns.Overlay('Start and now', 'ro-viewer');
        const range = h('input', {type: 'range', class: 'ro-wipe', min: '0', max: '100', value: '50', 'aria-label': 'How much of the start is shown'});
        const box = h('div', {class: 'ro-versus'},
            h('img', {src: state.api.image(study.now_image), alt: 'Now', draggable: 'false'}),
            h('img', {src: state.api.image(study.start_image), alt: 'Start', class: 'ro-over', draggable: 'false'}),
            h('span', {class: 'ro-line', 'aria-hidden': 'true'}), h('span', {class: 'ro-tag ro-left'}, 'Start'),
            h('span', {class: 'ro-tag ro-right'}, 'Now'), range);
        const move = () => {
            box.style.setProperty('--ro-cut', `${range.value}%`);
            set(range, 'aria-valuetext', `${range.value} % start`);
        };
        range.addEventListener('input', move);
        overlay.onKey = (command) => {
            if (!command) return false;
            if (['escape', 'slider', 'zoom'].includes(command.name)) overlay.close();
            else if (command.name === 'move') {
                const by = {ArrowLeft: -5, ArrowRight: 5, ArrowUp: 100, ArrowDown: -100}[command.direction];
                range.value = Number(range.value) + by;
                move();
            } else return false;
            return true;
        };
        overlay.open(h('div', {class: 'ro-viewbar'},
            h('span', {class: 'ro-hint'}, 'Drag, or ← → · ↑ all start · ↓ all now'),
            button('Close', 'Esc', () => overlay.close(), {icon: 'close', iconOnly: true})), box);
        move();
        range.focus();
    };

    /** A blind test: ask how many trials, show them one by one, say the result with its interval. */
    class Blind {
        constructor(state, label = 'Blind test') {
            this.state = state;
            this.api = state.api;
            this.trial = null;
            this.busy = false;
            this.overlay = new ns.Overlay(label, 'ro-viewer');
            this.overlay.onClose = () => state.update({blind: false});
            state.update({blind: true});
            // A key that is held down must not answer trials that nobody has looked at.
            this.overlay.onKey = (command, event) => event.repeat || this.key(command);
            this.title = h('span', {class: 'ro-viewtitle', 'aria-live': 'polite'});
            this.body = h('div', {class: 'ro-blind'});
            this.overlay.open(h('div', {class: 'ro-viewbar'}, this.title,
                button('Close', 'Esc', () => this.overlay.close(), {icon: 'close', iconOnly: true})), this.body);
        }

        intro() {
            const number = h('select', {class: 'ro-select', 'aria-label': 'Number of trials'}, [4, 8, 12, 20].map((n) => h('option', {value: n}, `${n} trials`)));
            number.value = '8';
            const start = button('Begin', 'Enter', () => this.start(Number(number.value)), {class: 'ro-primary'});
            this.begin = () => this.start(Number(number.value));
            this.body.replaceChildren(h('div', {class: 'ro-card-text'}, h('h2', {}, 'Did the ranking help?'),
                h('p', {}, 'You see two images at a time: one as it was at the start, one as it is now, left and right by chance. Choose the one that you like better. Which was which is told at the end.'),
                h('div', {class: 'ro-choices'}, number, start)));
            start.focus();
        }

        async start(trials) {
            if (this.busy) return;
            this.busy = true;
            this.begin = null;
            this.body.replaceChildren(h('div', {class: 'ro-card-text'}, h('p', {}, 'Preparing the images…')));
            try {
                this.trials = trials;
                this.next({trial: await this.api.post(['studies', this.state.data.study.id, 'blind'], {trials})});
            } catch (error) {
                this.overlay.close();
                ns.report(error);
            } finally {
                this.busy = false;
            }
        }

        count() {
            text(this.title, `Trial ${this.trial.index + 1} of ${this.trials} · ← left · → right · ↓ no difference`);
        }

        /** Address of an image of a trial. */
        source(trial, side) {
            return this.api.image(trial[side]);
        }

        /** Tell the server a choice. */
        send(choice) {
            return this.api.post(['blind', this.trial.test, 'trials', this.trial.index], {choice});
        }

        /** Ask the server what is next. */
        read() {
            return this.api.get(['blind', this.trial.test]);
        }

        /** Show what the server says is next. */
        next({result, trial}) {
            if (trial) {
                this.show(trial);
                this.count();
            } else {
                this.finish(result);
            }
        }

        show(trial) {
            this.trial = trial;
            const side = (name) => h('button', {type: 'button', class: 'ro-side', 'aria-label': `${name} image`, onclick: (event) => {
                event.currentTarget.blur();
                this.choose(name.toLowerCase());
            }}, h('img', {src: this.source(trial, name.toLowerCase()), alt: '', draggable: 'false'}));
            this.sides = {left: side('Left'), right: side('Right')};
            this.body.replaceChildren(h('div', {class: 'ro-sides'}, this.sides.left, this.sides.right),
                h('div', {class: 'ro-choices'}, button('Left', '←', () => this.choose('left')),
                    button('No difference', '↓', () => this.choose('tie')), button('Right', '→', () => this.choose('right'))));
        }

        async choose(choice) {
            if (this.busy || !this.trial) return;
            this.busy = true;
            if (this.sides[choice]) mark(this.sides[choice], 'ro-chosen', true);
            try {
                this.next(await this.send(choice));
            } catch (error) {
                ns.report(error);
                await this.catchUp();
            } finally {
                this.busy = false;
            }
        }

        /** After a failure: the choice may have been taken although its reply was lost, so ask which trial is next. */
        async catchUp() {
            try {
                this.next(await this.read());
            } catch (_) { /* offline: the next choice tries again */ }
        }

        finish(result) {
            this.trial = null;
            text(this.title, 'Result');
            const percent = (value) => `${Math.round(value * 100)} %`;
            const bar = h('div', {class: 'ro-interval', role: 'img', 'aria-label': `${percent(result.rate)}, interval ${percent(result.low)} to ${percent(result.high)}`},
                h('span', {class: 'ro-range'}), h('span', {class: 'ro-half'}), h('span', {class: 'ro-dot'}));
            bar.style.setProperty('--ro-low', percent(result.low).replace(' ', ''));
            bar.style.setProperty('--ro-high', percent(result.high).replace(' ', ''));
            bar.style.setProperty('--ro-rate', percent(result.rate).replace(' ', ''));
            this.body.replaceChildren(h('div', {class: 'ro-card-text ro-result'}, h('h2', {}, result.sentence), bar,
                h('p', {class: 'ro-dim'}, `95 % interval ${percent(result.low)} to ${percent(result.high)}; 50 % is no difference.`),
                h('div', {class: 'ro-choices'}, button('Again', null, () => this.intro()), button('Done', 'Enter', () => this.overlay.close(), {class: 'ro-primary'}))));
            this.begin = () => this.overlay.close();
        }

        key(command) {
            if (!command) return false;
            const side = {ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'tie', ArrowUp: 'tie'}[command.direction];
            if (side && this.trial) this.choose(side);
            else if (command.name === 'tie' && this.trial) this.choose('tie');
            else if (command.name === 'confirm' && this.begin) this.begin();
            else if (command.name === 'escape') this.overlay.close();
            else return false;
            return true;
        }
    }

    ns.Blind = Blind;
    ns.openBlind = function (state) {
        const {study} = state.data;
        if (!study.now_image) {
            ns.toast('Rank at least one round first: there is nothing yet to compare the start with.');
            return;
        }
        new Blind(state).intro();
    };
}());
