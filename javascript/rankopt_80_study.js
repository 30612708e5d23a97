// One study on screen: title, progress, grid, what can be done.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.StudyPage) return;

    const {h, set, text, mark, button, plural, duration} = ns.base;

    class StudyPage {
        constructor(state, actions, board) {
            this.state = state;
            this.actions = actions;
            this.board = board;
            this.grid = new ns.Grid(state, actions, (id) => ns.openViewer(state, actions, id, 1));
            this.strip = new ns.Strip(state, actions);
            this.head();
            this.status();
            this.foot();
            this.element = h('section', {class: 'ro-page', 'aria-label': 'Study'}, this.bar, this.line,
                h('div', {class: 'ro-middle'}, h('div', {class: 'ro-field-of-view'}, this.banner, this.grid.element, this.empty), this.strip.element), this.actionsBar);
            state.below = () => this.actionsBar.offsetHeight + (this.strip.element.offsetTop > this.grid.element.offsetTop + 20 ? this.strip.element.offsetHeight : 0);
        }

        head() {
            const {state, actions} = this;
            this.name = h('button', {type: 'button', class: 'ro-name', title: 'Rename', onclick: () => ns.askName(state.data.study, actions)});
            this.meta = h('span', {class: 'ro-dim ro-meta'});
            const tool = (label, key, command, name) => button(label, key, () => this.board.run({name: command}), {icon: name, iconOnly: true, command});
            this.incumbent = tool('Show the incumbent', 'I', 'incumbent', 'crown');
            this.autoButton = tool('Let a scorer rank', 'A', 'auto', 'auto');
            this.scoresButton = tool('Scores', 'M', 'scores', 'score');
            this.bar = h('header', {class: 'ro-bar'},
                button('Studies', null, () => this.board.home(), {icon: 'back', class: 'ro-quiet'}),
                h('div', {class: 'ro-title'}, this.name, this.meta),
                h('div', {class: 'ro-toolbar', role: 'toolbar', 'aria-label': 'Looking and comparing'},
                    tool('Compare', 'C', 'compare', 'split'), tool('Start and now', 'W', 'slider', 'slider'), tool('Blind test', 'B', 'blind', 'blind'),
                    this.incumbent, this.scoresButton, this.autoButton, tool('Go on with the image', 'E', 'use', 'use'), tool('Fill the window', 'F', 'full', 'full'), tool('Keys', '?', 'help', 'help')));
        }

        status() {
            this.fill = h('span', {class: 'ro-fill'});
            this.meter = h('div', {class: 'ro-meter', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-label': 'Making images'}, this.fill);
            this.words = h('span', {class: 'ro-words', 'aria-live': 'polite'});
            this.scoring = h('span', {class: 'ro-scoring', role: 'status'});
            this.stop = button('Stop', 'Esc', () => this.actions.interrupt(), {class: 'ro-quiet', command: 'interrupt'});
            this.line = h('div', {class: 'ro-status'}, this.meter, this.words, this.stop, this.scoring);
            this.banner = h('div', {class: 'ro-banner', hidden: true});
            this.empty = h('div', {class: 'ro-nothing', hidden: true});
        }

        foot() {
            const {actions, board} = this;
            this.undo = button('Undo', 'U', () => actions.undo(), {class: 'ro-quiet', command: 'undo'});
            this.skip = button('Skip', 'S', () => actions.skip(), {class: 'ro-quiet', command: 'skip'});
            this.none = button('None is better', 'N', () => actions.noneBetter(), {class: 'ro-quiet', command: 'none_better'});
            this.tie = button('Tie', 'T', () => board.run({name: 'tie'}), {class: 'ro-quiet', command: 'tie'});
            this.placed = h('span', {class: 'ro-dim ro-placed', 'aria-live': 'polite'});
            this.next = button('Next round', 'Enter', () => actions.confirm(), {class: 'ro-primary', command: 'confirm'});
            this.actionsBar = h('div', {class: 'ro-actions', role: 'toolbar', 'aria-label': 'Answer'}, this.undo, this.skip, this.none, this.tie, this.placed, this.next);
        }

        draw(data) {
            const {study} = data;
            const round = this.state.shown;
            text(this.name, study.name);
            text(this.meta, this.about(round));
            set(this.name, 'title', study.settings.prompt);
            set(this.incumbent, 'aria-pressed', String(data.showIncumbent));
            set(this.autoButton, 'aria-pressed', String(Boolean(study.auto)));
            set(this.scoresButton, 'aria-pressed', String(Boolean(this.state.scores.scorer)));
            this.grid.draw(data);
            this.strip.draw(data);
            this.drawStatus(data, round);
            this.drawBanner(data, round);
            this.drawEmpty(round);
            this.drawFoot(data, round);
        }

        about(round) {
            const {study} = this.state.data;
            return round ? `Round ${round.index + 1} · ${plural(study.images, 'image')} so far` : 'not begun';
        }

        drawStatus(data, round) {
            const {progress} = data;
            const current = this.state.current;
            const expecting = current && ['queued', 'generating'].includes(current.status);
            const live = progress && progress.job !== 'idle' && (progress.job === 'blind' || (current && progress.round === current.index));
            const working = Boolean(expecting || (live && progress.job === 'blind'));
            mark(this.line, 'ro-working', working);
            const fraction = working && live ? progress.fraction : 0;
            this.fill.style.transform = `scaleX(${fraction})`;
            set(this.meter, 'aria-valuenow', Math.round(fraction * 100));
            text(this.words, working ? workingWords(progress, live, current) : (data.looking === null ? restWords(round) : ''));
            set(this.stop, 'hidden', !working);
            text(this.scoring, this.state.scores.words);
            set(this.scoring, 'title', this.state.scores.meaning || null);
        }

        /** Looking back, automatic mode, connection. */
        drawBanner(data, round) {
            const parts = [];
            if (!data.online) parts.push('The server is away; trying again. Nothing is lost.');
            else if (data.looking !== null && round) {
                const by = round.answered_by && round.answered_by !== ns.rater.name ? ` Ranked by ${round.answered_by}.` : '';
                const branch = button('Branch from here', null, () => this.actions.branch(round.index), {icon: 'branch', command: 'branch'});
                set(branch, 'disabled', round.status !== 'answered');
                parts.push(`You are looking back at round ${round.index + 1}.${by}`, branch, button('Back to now', 'Enter', () => this.actions.look(this.state.current.index), {class: 'ro-quiet'}));
            } else if (data.study.auto) {
                parts.push(`${data.study.auto} is ranking while you watch.`, button('Take over', 'A', () => this.actions.takeOver(), {class: 'ro-primary', command: 'take_over'}));
            } else if (data.study.warnings.length) parts.push(data.study.warnings.join(' '));
            const key = `${data.online}/${data.looking}/${data.study.auto}/${round && round.answered_by}/${data.study.warnings.join()}`;
            if (key === this.bannerKey) return;
            this.bannerKey = key;
            this.banner.replaceChildren(...parts.map((part) => (typeof part === 'string' ? h('span', {}, part) : part)));
            mark(this.banner, 'ro-away', !data.online);
            set(this.banner, 'hidden', !parts.length);
        }

        drawEmpty(round) {
            const finished = round ? round.candidates.filter((one) => one.image).length : 0;
            const state = !round ? 'new' : (['failed', 'interrupted'].includes(round.status) ? round.status : '');
            const other = this.otherModel(state === 'failed' ? round : null);
            const key = `${state}/${finished}/${round && round.error}/${other}`;
            if (key === this.emptyKey) return;
            this.emptyKey = key;
            set(this.empty, 'hidden', !state || (state === 'interrupted' && finished === round.order.length));
            const there = finished > 1 ? ` Rank the ${finished} that are there, or skip.` : '';
            const words = {
                new: 'No round has been made yet.', failed: `${(round && round.error) || 'This round could not be made.'}${there}`,
                interrupted: `Stopped after ${plural(finished, 'image')}.${there}`,
            }[state];
            const label = {new: 'Make the first round', failed: 'Try again', interrupted: 'Make the rest'}[state];
            const again = finished < 2 ? button(label || '', null, () => this.actions.nextRound(), {command: 'make'}) : null;
            this.empty.replaceChildren(h('p', {}, words || ''), ...(other ? this.ways(other) : []), ...(again ? [again] : []));
        }

        /** The model that the host has loaded instead of the study's, once it has been asked about a failed round; otherwise null. */
        otherModel(failed) {
            const {study, host} = this.state.data;
            const name = failed && `${study.id}/${failed.index}`;
            if (failed && this.asked === name) return host && host.loaded !== study.settings.model ? host.loaded : null;
            this.asked = name;
            if (failed) this.state.loadHost().catch(() => {});
            return null;
        }

        /** How to go on where another model is loaded. */
        ways(loaded) {
            const {model} = this.state.data.study.settings;
            const load = button(`Load ${model} and go on`, null, () => this.actions.loadModel(), {class: 'ro-primary', command: 'load_model'});
            const other = button(`Go on with ${loaded} in a new study`, null, () => this.actions.goOnWith(loaded), {command: 'other_model'});
            return typeof selectCheckpoint === 'function' ? [load, other] : [other];
        }

        drawFoot(data, round) {
            const open = this.state.open;
            const placed = ns.ranking.count(data.draft);
            const current = this.state.current;
            set(this.skip, 'disabled', !open);
            set(this.none, 'disabled', !open);
            set(this.tie, 'aria-pressed', String(data.tie));
            const taken = data.rounds.some((one) => one.status === 'answered' || one.candidates.some((candidate) => candidate.liked !== null));
            set(this.undo, 'disabled', !data.study.answered && !placed && !taken);
            const total = round ? round.candidates.length : 0;
            text(this.placed, open ? hint(placed, total, data.tie) : '');
            const label = this.next.querySelector('.ro-label');
            text(label, data.looking !== null ? 'Back to now' : !current ? 'First round' : (current.status === 'answered' ? 'Next round' : 'Confirm, next round'));
            mark(this.next, 'ro-ready', open && placed > 0);
        }
    }

    function workingWords(progress, live, current) {
        if (!live) return 'Waiting for the model…';
        if (progress.message) return progress.message;
        if (progress.queue_position > 0) return `Waiting in the queue, place ${progress.queue_position}`;
        const left = duration(progress.eta_seconds);
        const what = progress.job === 'blind' ? 'Preparing the blind test' : `Making images, ${progress.done} of ${progress.total || current.candidates.length}`;
        return left ? `${what} · ${left} left` : what;
    }

    function restWords(round) {
        if (!round) return '';
        if (round.status === 'answered') return round.tiers.length ? 'Ranked. Enter makes the next round.' : 'Answered. Enter makes the next round.';
        return '';
    }

    function hint(placed, total, tie) {
        if (!placed) return tie ? 'Ties on: pick the images that are equal' : 'Press 1–9 in the order you like them';
        const rest = total - placed;
        return `${placed} of ${total} placed${rest > 0 ? ', the rest count as equal last' : ''}${tie ? ' · ties on' : ''}`;
    }

    ns.StudyPage = StudyPage;
}());
