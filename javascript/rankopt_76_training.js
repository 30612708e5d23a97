// The page on which LoRAs are trained: the runs, the form of a new one, or one run.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.TrainingPage) return;

    const {h, set, text, mark, icon, button, sleep} = ns.base;
    const OPEN = 'rankopt:training'; // in sessionStorage: the open run, or nothing for the form
    const LIST_GAP = 5000;

    /** Seconds since the epoch as a person says them. */
    function ago(seconds) {
        const minutes = (Date.now() / 1000 - seconds) / 60;
        if (minutes < 1.5) return 'just now';
        if (minutes < 90) return `${Math.round(minutes)} min ago`;
        if (minutes < 36 * 60) return `${Math.round(minutes / 60)} h ago`;
        const day = new Date(seconds * 1000);
        return day.toLocaleDateString([], {day: 'numeric', month: 'short', ...(day.getFullYear() === new Date().getFullYear() ? {} : {year: 'numeric'})});
    }

    class TrainingPage extends ns.Page {
        constructor(state, home) {
            super('training', state, home);
            this.runs = null;
            this.folder = '';
            this.form = new ns.TrainForm(state, (run) => this.started(run));
            this.view = new ns.RunView(state, this);
            this.list = h('ul', {class: 'ro-runs'});
            this.fresh = button('New run', null, () => this.show(''), {command: 'new_training'});
            this.main = h('div', {class: 'ro-train-main'}, this.form.element, this.view.element);
            this.element = h('section', {class: 'ro-training', 'aria-label': 'Training', hidden: true},
                h('header', {class: 'ro-head'}, button('Studies', null, home, {icon: 'back', class: 'ro-quiet', command: 'studies'}), h('h2', {}, 'Train a LoRA')), this.away,
                h('div', {class: 'ro-train-columns'}, h('nav', {class: 'ro-train-side', 'aria-label': 'Runs'}, this.fresh, this.list), this.main));
            const kept = sessionStorage.getItem(OPEN);
            this.shown = kept || '';
            if (kept !== null) state.data.page = 'training';
        }

        // -- open and closed
        open() {
            this.state.update({page: 'training'});
        }

        /** Leave it for the studies; what is filled in stays. */
        close() {
            sessionStorage.removeItem(OPEN);
            this.shown = '';
            this.state.update({page: null});
        }

        begin(signal) {
            this.show(this.shown);
            this.read(signal);
        }

        end() {
            this.view.close();
        }

        /** Read form and runs as soon as the server is there, and then the runs now and then as long as any of them moves. */
        async read(signal) {
            const found = await this.patiently(signal, () => Promise.all([this.api.get(['training', 'runs'], undefined, signal), this.form.load()]));
            if (!found) return;
            this.folder = this.form.form.lora_dir || '';
            this.setRuns(found[0]);
            while (!signal.aborted) {
                await sleep(LIST_GAP);
                const others = (this.runs || []).some((run) => run.id !== this.shown && ns.runs.moves(run));
                if (signal.aborted || document.hidden || !others) continue;
                await this.api.get(['training', 'runs'], undefined, signal).then((runs) => this.setRuns(runs)).catch(() => {});
            }
        }

        // -- the runs
        setRuns(runs) {
            this.runs = runs;
            this.drawList();
        }

        /** A run's newest record, from whoever has read it. */
        adopt(run) {
            if (!this.runs) return;
            const known = this.runs.some((one) => one.id === run.id);
            this.setRuns(known ? this.runs.map((one) => (one.id === run.id ? run : one)) : [run, ...this.runs]);
        }

        started(run) {
            this.adopt(run);
            this.show(run.id);
            ns.say(`${run.name}: ${ns.runs.words(run)}`);
        }

        /** The open run is not there any more. */
        lost(id) {
            if (this.runs) this.setRuns(this.runs.filter((run) => run.id !== id));
            this.show('');
        }

        /** One run, or the form where no id is given. */
        show(id) {
            this.shown = id;
            sessionStorage.setItem(OPEN, id);
            set(this.form.element, 'hidden', Boolean(id));
            if (id) this.view.open(id);
            else this.view.close();
            if (this.main.getBoundingClientRect().top < 0) this.main.scrollIntoView({block: 'start'}); // begun at the foot of the form, seen from its head
            this.drawList();
        }

        drawList() {
            set(this.fresh, 'aria-pressed', String(!this.shown));
            if (!this.runs) return;
            const old = new Map([...this.list.children].map((row) => [row.dataset.run, row]));
            const rows = this.runs.map((run) => this.drawRow(old.get(run.id) || this.row(run.id), run));
            // rows stay the same elements, so that the focus stays where it is while a run moves
            if (rows.length !== this.list.children.length || rows.some((row, place) => row !== this.list.children[place])) this.list.replaceChildren(...rows);
            if (!rows.length) this.list.replaceChildren(h('li', {class: 'ro-dim ro-plain'}, 'No run yet.'));
        }

        row(id) {
            const open = h('button', {type: 'button', class: 'ro-open', onclick: () => this.show(id)},
                h('span', {class: 'ro-about'}, h('strong', {}), h('span', {class: 'ro-dim'}), h('span', {class: 'ro-dim'})));
            return h('li', {class: 'ro-study ro-run-row', 'data-run': id}, open,
                h('button', {type: 'button', class: 'ro-tool', title: 'Delete', onclick: () => this.askDelete(id)}, icon('bin')));
        }

        drawRow(row, run) {
            const [name, state, when] = row.querySelector('.ro-about').children;
            text(name, run.name);
            text(state, `${run.objective} · ${ns.runs.words(run)}`);
            text(when, `${run.step} / ${run.steps} · ${ago(run.updated)}`);
            set(row.firstChild, 'aria-current', run.id === this.shown ? 'true' : null);
            mark(row, 'ro-here', run.id === this.shown);
            set(row.lastChild, 'aria-label', `Delete ${run.name}`);
            set(row.lastChild, 'hidden', ns.runs.moves(run));
            set(row, 'data-state', run.state);
            return row;
        }

        askDelete(id) {
            const run = this.runs.find((one) => one.id === id);
            ns.dialog('Delete this run?', h('p', {}, `“${run.name}” with its curves, samples and checkpoints will be gone for good. Its LoRA files stay.`), [
                {label: 'Keep it', key: 'Escape', class: 'ro-primary'},
                {label: 'Delete', class: 'ro-danger', run: () => this.remove(id)},
            ]);
        }

        async remove(id) {
            try {
                await this.api.remove(['training', 'runs', id]);
                this.setRuns(this.runs.filter((run) => run.id !== id));
                if (this.shown === id) this.show('');
            } catch (error) {
                ns.report(error);
            }
        }

        /** What a key asks for while no study is open. Returns whether it meant something here. */
        key(command) {
            if (!this.control || command.name !== 'escape') return false;
            this.home();
            return true;
        }
    }

    ns.TrainingPage = TrainingPage;
}());
