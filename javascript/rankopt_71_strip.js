// The strip of rounds: look back, branch.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Strip) return;

    const {h, set, text, mark} = ns.base;

    class Strip {
        constructor(state, actions) {
            this.state = state;
            this.actions = actions;
            this.chips = new Map();
            this.element = h('nav', {class: 'ro-strip', 'aria-label': 'Rounds'});
        }

        draw(data) {
            const indexes = new Set(data.rounds.map((round) => round.index));
            for (const [index, chip] of this.chips) {
                if (indexes.has(index)) continue;
                chip.remove();
                this.chips.delete(index);
            }
            const shown = this.state.shown;
            for (const round of data.rounds) this.chip(round, shown);
            mark(this.element, 'ro-empty', data.rounds.length < 2);
        }

        chip(round, shown) {
            let chip = this.chips.get(round.index);
            if (!chip) {
                chip = h('button', {type: 'button', class: 'ro-chip', onclick: (event) => {
                    if (event.detail > 0) event.currentTarget.blur();
                    this.actions.look(round.index);
                }}, h('img', {alt: '', loading: 'lazy', draggable: 'false'}), h('span'));
                this.chips.set(round.index, chip);
                this.element.append(chip);
                this.element.scrollTo({left: this.element.scrollWidth, top: this.element.scrollHeight});
            }
            const first = round === this.state.current ? this.state.data.draft.flat()[0] : null;
            const best = round.candidates.find((one) => one.id === (round.best || first));
            set(chip.firstChild, 'src', best && best.image ? this.state.api.image(best.image) : null);
            text(chip.lastChild, round.index + 1);
            mark(chip, 'ro-here', shown && shown.index === round.index);
            mark(chip, 'ro-by-machine', String(round.answered_by || '').startsWith('auto:'));
            const by = round.answered_by ? `, ranked by ${round.answered_by === ns.rater.name ? 'you' : round.answered_by}` : '';
            set(chip, 'title', `Round ${round.index + 1}${by}`);
            set(chip, 'aria-label', `Round ${round.index + 1}${by}`);
            set(chip, 'aria-current', shown && shown.index === round.index ? 'true' : null);
        }
    }

    ns.Strip = Strip;
}());
