// Folders that are ranked: the dialogs of a new one and of its settings, the list on the home page, and the page that holds ranking and results.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.FolderPage) return;

    const {h, set, text, button, plural, sleep} = ns.base;
    const OPEN = 'rankopt:folder'; // in sessionStorage: the open collection, with /results behind it where these are shown
    const LAYOUTS = [
        ['pair', 'Two', 'Which of the two is better? The least to think about.'],
        ['four', 'Best of four', 'Choose the best of four: more said with one key.'],
        ['list', 'A list', 'Put several in order, best first.'],
    ];
    const WITHIN = [['auto', 'what the folder suggests'], ['prompt', 'images of one prompt'], ['any', 'any images']];

    /** The controls of a ranking's settings; `values` reads them. */
    class SettingsForm {
        constructor(settings) {
            const group = `rankopt_layout_${ns.base.token().slice(0, 6)}`;
            const card = ([name, title, about]) => h('label', {class: 'ro-objective'},
                h('input', {type: 'radio', name: group, value: name, checked: name === settings.layout, onchange: () => this.draw()}), h('strong', {}, title), h('span', {class: 'ro-dim'}, about));
            this.cards = h('div', {class: 'ro-objectives', role: 'radiogroup', 'aria-label': 'How many at once'}, LAYOUTS.map(card));
            this.size = h('input', {class: 'ro-input', type: 'number', min: '2', max: '8', value: settings.size});
            this.within = h('select', {class: 'ro-select'}, WITHIN.map(([name, words]) => h('option', {value: name, selected: name === settings.within}, words)));
            this.repeats = h('input', {class: 'ro-input', type: 'number', min: '0', max: '50', step: '1', value: Math.round(settings.repeats * 100)});
            this.rater = h('input', {class: 'ro-input', type: 'text', maxlength: '200', value: ns.rater.name});
            const row = (label, control, help) => h('label', {class: 'ro-setting'}, h('span', {class: 'ro-setting-name'}, label), control, help ? h('small', {class: 'ro-dim'}, help) : null);
            this.sizeRow = row('Images in a list', this.size, '2 to 8.');
            this.element = h('div', {class: 'ro-folder-form'}, this.cards, h('div', {class: 'ro-settings'}, this.sizeRow, row('Compare', this.within),
                row('Shown again, in %', this.repeats, 'Tells how consistent you are; changes no rating.'), row('Your name', this.rater, 'Keeps several people’s answers apart.')));
            this.draw();
        }

        get layout() {
            return (this.cards.querySelector('input:checked') || {}).value || 'pair';
        }

        draw() {
            set(this.sizeRow, 'hidden', this.layout !== 'list');
        }

        /** What is set, or null where a field cannot be read; the browser says so at the field. */
        values() {
            for (const field of [this.size, this.repeats]) {
                if (field.closest('[hidden]') || field.reportValidity()) continue;
                return null;
            }
            ns.rater.name = this.rater.value;
            return {layout: this.layout, size: Number(this.size.value) || 5, within: this.within.value, repeats: (Number(this.repeats.value) || 0) / 100};
        }
    }

    /** A dialog with a form that stays open until the server has taken what is in it. */
    function formDialog(title, content, label, send, first) {
        const overlay = new ns.Overlay(title, 'ro-small ro-wide');
        const refusal = h('p', {class: 'ro-refusal', role: 'alert', hidden: true});
        const go = button(label, 'Enter', () => submit(), {class: 'ro-primary', command: 'folder_go'});
        async function submit() {
            if (go.disabled) return;
            set(go, 'disabled', true);
            set(refusal, 'hidden', true);
            try {
                if (await send() !== false) overlay.close();
            } catch (error) {
                text(refusal, error.message);
                set(refusal, 'hidden', false);
            } finally {
                set(go, 'disabled', false);
            }
        }
        overlay.onKey = (command, event) => {
            if (event.key === 'Enter' && !(event.target instanceof HTMLSelectElement)) submit();
            else if (event.key === 'Escape') overlay.close();
            else return false;
            return true;
        };
        overlay.open(h('h2', {}, title), ...content, refusal, h('div', {class: 'ro-choices'}, button('Cancel', 'Escape', () => overlay.close()), go));
        if (first) first.focus();
    }

    class FolderPage extends ns.Page {
        constructor(state, home) {
            super('folder', state, home);
            this.takesPaths = false;
            this.view = null; // the open collection's record
            this.ranking = new ns.RankView(this);
            this.results = new ns.ResultsView(this);
            this.element = h('section', {class: 'ro-folder', 'aria-label': 'Ranking a folder', hidden: true}, this.away, this.ranking.element, this.results.element);
            this.list = h('ul', {class: 'ro-studies'});
            this.shelf = h('section', {class: 'ro-folders', 'aria-label': 'Folders', hidden: true}, h('header', {class: 'ro-head'}, h('h2', {}, 'Folders being ranked')), this.list);
            const [number, part] = (sessionStorage.getItem(OPEN) || '').split('/');
            if (number) {
                Object.assign(state.data, {page: 'folder', folder: Number(number)});
                this.part = part || '';
            }
        }

        // -- the list on the home page
        /** Read what is ranked; where the server is away it is asked again with the studies. */
        async load() {
            const found = await this.api.get(['data', 'folders']);
            this.takesPaths = found.takes_paths;
            set(this.shelf, 'hidden', !found.folders.length);
            this.list.replaceChildren(...found.folders.map((one) => this.row(one)));
        }

        row(one) {
            const how = {pair: 'two at a time', four: 'best of four', list: `lists of ${one.settings.size}`}[one.settings.layout];
            return h('li', {class: 'ro-study', 'data-folder': one.number}, h('button', {type: 'button', class: 'ro-open', onclick: () => this.goOn(one)},
                h('span', {class: 'ro-about'}, h('strong', {}, one.name), h('span', {class: 'ro-dim'}, one.root || one.kind),
                    h('span', {class: 'ro-dim'}, `${plural(one.progress.images, 'image')} · ${plural(one.progress.comparisons, 'comparison')} · ${how}`))));
        }

        /** Ask for a folder to rank. */
        async ask() {
            await this.load().catch(ns.report);
            if (!this.takesPaths) {
                ns.toast('This server does not let pages name its folders; start it on your own machine, or import on its command line.', 'error');
                return;
            }
            const path = h('input', {class: 'ro-input', type: 'text', spellcheck: 'false', autocomplete: 'off', placeholder: '/home/me/images', 'aria-label': 'Folder'});
            const form = new SettingsForm({layout: 'pair', size: 5, within: 'auto', repeats: 0.05});
            const row = h('label', {class: 'ro-setting'}, h('span', {class: 'ro-setting-name'}, 'Folder'), path,
                h('small', {class: 'ro-dim'}, 'Its whole path, on the machine that this page comes from. Nothing in it is changed. A folder named again goes on.'));
            formDialog('Rank a folder of images', [row, form.element], 'Rank', async () => {
                const settings = form.values();
                if (!settings) return false;
                const made = await this.api.post(['data', 'folders'], {path: path.value, settings});
                this.open(made.number, made);
                return true;
            }, path);
        }

        /** Ask how the open one is ranked. */
        askSettings() {
            const form = new SettingsForm(this.view.settings);
            formDialog('How it is ranked', [form.element], 'Change', async () => {
                const settings = form.values();
                if (!settings) return false;
                this.adopt(await this.api.patch(['data', 'collections', String(this.view.number), 'ranking'], settings));
                this.ranking.restart();
                return true;
            });
        }

        // -- open and closed
        /** Open it from the list; what has changed in the folder meanwhile is taken in. */
        goOn(one) {
            this.open(one.number);
            if (this.takesPaths && one.kind === 'folder') this.api.post(['data', 'folders'], {path: one.root}).catch(ns.report);
        }

        open(number, view) {
            this.view = view || null;
            this.part = '';
            this.state.update({page: 'folder', folder: number});
        }

        /** Leave it for the studies; everything that was answered is kept. */
        close() {
            sessionStorage.removeItem(OPEN);
            if (this.state.data.folder !== null) this.state.update({page: null, folder: null, full: false});
            this.load().catch(() => {});
        }

        begin(signal) {
            this.follow(signal);
        }

        end() {
            this.view = null;
            this.ranking.stop();
            this.results.stop();
        }

        /** Read the collection, and again as long as something runs for it in the background. */
        async follow(signal) {
            let shown = false;
            for (let wait = 600; !signal.aborted;) {
                try {
                    const view = await this.api.get(['data', 'collections', String(this.state.data.folder), 'ranking'], undefined, signal);
                    if (signal.aborted) return;
                    this.adopt(view);
                    if (!shown) this.show(this.part);
                    shown = true;
                    wait = this.busy ? 1000 : 5000;
                } catch (error) {
                    if (signal.aborted) return;
                    if (!(error instanceof ns.Offline)) {
                        ns.report(error);
                        this.home();
                        return;
                    }
                    wait = Math.min(wait * 1.6, 8000);
                }
                await sleep(wait);
                while (document.hidden && !signal.aborted) await sleep(500);
            }
        }

        /** Is something running for it? */
        get busy() {
            return Boolean(this.view && this.view.job && ['queued', 'running'].includes(this.view.job.state));
        }

        /** Take over a newer record. */
        adopt(view) {
            this.view = view;
            this.ranking.drawHead();
            this.results.drawHead();
        }

        /** Ranking, or the results. */
        show(part) {
            this.part = part;
            sessionStorage.setItem(OPEN, `${this.state.data.folder}${part ? `/${part}` : ''}`);
            set(this.ranking.element, 'hidden', part === 'results');
            set(this.results.element, 'hidden', part !== 'results');
            if (part === 'results') {
                this.ranking.stop();
                this.results.begin();
            } else {
                this.results.stop();
                this.ranking.begin();
            }
        }

        /** What a key asks for while it is on screen. Returns whether it meant something here. */
        key(event) {
            if (!this.control || !this.view) return false;
            if (this.part !== 'results') return this.ranking.key(event);
            if (event.key !== 'Escape') return false;
            this.show('');
            return true;
        }
    }

    ns.FolderPage = FolderPage;
}());
