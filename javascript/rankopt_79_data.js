// The page on which data are looked through: what there is, the images, duplicates, and what could be trained with them.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataPage) return;

    const {h, set, text, icon, button, plural} = ns.base;
    const OPEN = 'rankopt:data'; // in sessionStorage: the view, while the page is open
    const VIEWS = [['overview', 'Overview'], ['images', 'Images'], ['twins', 'Duplicates']];
    const CHOSEN_AFTER = 300;
    const KINDS = {study: 'study', import: 'data set', folder: 'folder', webui: 'gallery'};
    const figure = (value) => (value ? value.toLocaleString() : '–');

    /** The table of studies and collections, and what each objective would get of those that are ticked. */
    class DataOverview {
        constructor(page) {
            this.page = page;
            this.api = page.api;
            this.left = new Set(); // ids that are not ticked
            this.body = h('tbody', {});
            this.foot = h('tfoot', {});
            this.all = h('input', {type: 'checkbox', checked: true, 'aria-label': 'All of them', onchange: () => {
                this.left = new Set(this.all.checked ? [] : this.sources.map((one) => one.id));
                this.draw(this.overview);
            }});
            const head = ['Name', 'Images', 'Prompts', 'Pairs', 'Rankings', 'Likes', 'Dislikes', 'Raters', ''].map((name, place) => h('th', {scope: 'col', class: place ? `ro-col-${name.toLowerCase()}` : null}, name || h('span', {class: 'ro-spoken'}, 'Commands')));
            this.table = h('table', {class: 'ro-sources'}, h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, this.all), head)), this.body, this.foot);
            this.nothing = h('div', {class: 'ro-welcome', hidden: true}, h('h3', {}, 'Nothing here yet'), h('p', {}, 'Studies that you rank, data sets and folders that are imported, and images that are liked in the webui’s gallery show up here.'));
            this.reachHead = h('h3', {}, 'With these you could train');
            this.why = h('p', {class: 'ro-dim', role: 'status'});
            this.reach = h('ul', {class: 'ro-reaches'});
            this.problems = h('details', {class: 'ro-more', hidden: true}, h('summary', {}), h('ul', {class: 'ro-problems ro-plain'}));
            this.element = h('div', {class: 'ro-data-overview'}, h('div', {class: 'ro-scroll-x', tabindex: '0', role: 'region', 'aria-label': 'What there is'}, this.table), this.nothing, h('section', {class: 'ro-reach-part', 'aria-label': 'What could be trained'}, this.reachHead, this.why, this.reach, this.problems));
        }

        get sources() {
            return this.overview ? this.overview.sources : [];
        }

        /** Ids of what is ticked. */
        get chosen() {
            return this.sources.map((one) => one.id).filter((id) => !this.left.has(id));
        }

        draw(overview) {
            this.overview = overview;
            const {sources, total} = overview;
            this.left = new Set(sources.map((one) => one.id).filter((id) => this.left.has(id)));
            set(this.table, 'hidden', !sources.length);
            set(this.nothing, 'hidden', sources.length > 0);
            this.body.replaceChildren(...sources.map((one) => this.row(one)));
            this.foot.replaceChildren(h('tr', {}, h('td', {}), h('th', {scope: 'row'}, 'All'), this.figures(total), h('td', {})));
            this.drawAll();
            this.ask();
        }

        figures(one) {
            const raters = Object.keys(one.raters);
            return [['images', one.images], ['prompts', one.prompts], ['pairs', one.pairs], ['rankings', one.rankings], ['likes', one.likes], ['dislikes', one.dislikes]]
                .map(([name, value]) => h('td', {class: `ro-figure ro-col-${name}`}, figure(value))).concat(h('td', {class: 'ro-col-raters', title: raters.join(', ')}, raters.slice(0, 2).join(', ') + (raters.length > 2 ? ` +${raters.length - 2}` : '') || '–'));
        }

        row(one) {
            const box = h('input', {type: 'checkbox', checked: !this.left.has(one.id), 'aria-label': `Take ${one.name}`, onchange: () => {
                if (box.checked) this.left.delete(one.id);
                else this.left.add(one.id);
                this.drawAll();
                this.ask();
            }});
            const states = ['gone', 'changed', 'unseen', 'removed'].filter((name) => one.states[name]).map((name) => `${one.states[name].toLocaleString()} ${name === 'unseen' ? 'not looked at' : name}`);
            const about = [KINDS[one.kind] || one.kind, one.origin, ...states].filter(Boolean).join(' · ');
            const name = h('button', {type: 'button', class: 'ro-source', onclick: () => this.open(one)}, h('strong', {}, one.name), h('span', {class: 'ro-dim', title: about}, about));
            return h('tr', {'data-source': one.id}, h('td', {}, box), h('th', {scope: 'row'}, name), this.figures(one), h('td', {class: 'ro-row-tools'}, this.tools(one)));
        }

        tools(one) {
            if (one.collection === null) return null;
            const tool = (name, label, run) => h('button', {type: 'button', class: 'ro-tool', title: label, 'aria-label': `${label}: ${one.name}`, onclick: run}, icon(name));
            return [tool('crown', 'Rank the images', () => this.page.rank(one.collection)), tool('zoom', 'Look at the files', () => this.look(one)), tool('pen', 'Rename', () => this.rename(one)), tool('bin', 'Delete', () => this.askDelete(one))];
        }

        drawAll() {
            const used = this.chosen.length;
            this.all.checked = used > 0 && !this.left.size;
            this.all.indeterminate = used > 0 && this.left.size > 0;
        }

        open(one) {
            if (one.collection === null) this.page.state.visit(one.id).catch(ns.report);
            else this.page.showImages({collection: String(one.collection)});
        }

        // -- corrections
        async look(one) {
            try {
                this.page.jobs.add(await this.api.post(['data', 'collections', one.collection, 'look']));
            } catch (error) {
                ns.report(error);
            }
        }

        rename(one) {
            const name = h('input', {class: 'ro-input', type: 'text', maxlength: '200', 'aria-label': 'Name'});
            name.value = one.name;
            ns.dialog('Rename the collection', name, [{label: 'Cancel'}, {label: 'Rename', key: 'Enter', class: 'ro-primary', run: () => this.change(this.api.patch(['data', 'collections', one.collection], {name: name.value}))}]);
            name.select();
        }

        askDelete(one) {
            const answers = one.pairs + one.rankings + one.likes + one.dislikes;
            const files = one.kind === 'folder' ? 'The files in its folder stay.' : 'Copies that the data folder holds for it alone are deleted; files elsewhere stay.';
            ns.dialog('Delete this collection?', h('p', {}, `“${one.name}” with ${plural(one.images, 'image')} and ${plural(answers, 'answer')} will be gone for good. ${files}`), [
                {label: 'Keep it', key: 'Escape', class: 'ro-primary'},
                {label: 'Delete', class: 'ro-danger', run: () => this.change(this.api.remove(['data', 'collections', one.collection]))},
            ]);
        }

        async change(request) {
            try {
                await request;
            } catch (error) {
                ns.report(error);
            }
            this.page.refresh();
        }

        // -- what could be trained
        ask() {
            clearTimeout(this.timer);
            const {chosen} = this;
            text(this.reachHead, this.left.size ? `With what is ticked (${chosen.length} of ${this.sources.length}) you could train` : 'With all of this you could train');
            if (!chosen.length) {
                text(this.why, this.sources.length ? 'Tick something.' : '');
                this.reach.replaceChildren();
                set(this.problems, 'hidden', true);
                return;
            }
            this.timer = setTimeout(async () => {
                if (this.asking) this.asking.abort();
                const control = this.asking = new AbortController();
                text(this.why, 'Making examples…');
                try {
                    const found = await this.api.get(['data', 'objectives'], this.left.size ? chosen.map((id) => ['data', id]) : undefined, control.signal);
                    if (!control.signal.aborted) this.drawReach(found, chosen);
                } catch (error) {
                    if (!control.signal.aborted) text(this.why, error.message);
                }
            }, CHOSEN_AFTER);
        }

        drawReach(found, chosen) {
            text(this.why, found.built ? '' : found.why);
            set(this.problems, 'hidden', !found.problems.length);
            text(this.problems.firstChild, `Left out: ${found.problems.length}${found.problems.length === 100 ? ' and more' : ''}`);
            this.problems.lastChild.replaceChildren(...found.problems.map((one) => h('li', {}, one)));
            this.reach.replaceChildren(...found.objectives.map((one) => {
                const balance = one.liked || one.disliked ? ` · ${one.liked.toLocaleString()} liked, ${one.disliked.toLocaleString()} disliked` : '';
                const items = {experts: 'image', labels: 'label', pairs: 'pair', lists: 'list'}[one.kind] || 'item';
                const amount = one.items ? `${found.built ? '' : 'about '}${one.items.toLocaleString()} ${items}${one.items === 1 ? '' : 's'} over ${plural(one.prompts, 'prompt')}${balance}` : 'nothing yet';
                return h('li', {class: one.items ? 'ro-reach-card' : 'ro-reach-card ro-reach-none', 'data-objective': one.name}, h('strong', {}, one.title), h('span', {class: 'ro-reach-amount'}, amount),
                    h('span', {class: 'ro-dim'}, one.sentences.slice(found.built && one.items ? 1 : 0, 4).join(' ')),
                    one.items ? button('Train with these', null, () => this.page.train(chosen, one.name), {class: 'ro-quiet', icon: 'curve', command: 'data_train'}) : null);
            }));
        }
    }

    class DataPage extends ns.Page {
        constructor(state, home) {
            super('data', state, home);
            this.overview = new DataOverview(this);
            this.gallery = new ns.DataGallery(this);
            this.twins = new ns.DataTwins(this);
            this.moving = new ns.DataMoving(this);
            this.jobs = new ns.DataJobs(this.api, (job) => this.jobEnded(job));
            this.tabs = new Map(VIEWS.map(([name, label]) => [name, button(label, null, () => this.show(name), {command: `data_view_${name}`})]));
            this.element = h('section', {class: 'ro-datapage', 'aria-label': 'Data', hidden: true},
                h('header', {class: 'ro-head'}, button('Studies', null, home, {icon: 'back', class: 'ro-quiet', command: 'studies'}), h('h2', {}, 'Data'),
                    h('nav', {class: 'ro-tabs', 'aria-label': 'Views'}, [...this.tabs.values()]), this.moving.element, ns.raterButton()),
                this.away, this.jobs.element, this.overview.element, this.gallery.element, this.twins.element);
            const kept = sessionStorage.getItem(OPEN);
            this.view = VIEWS.some(([name]) => name === kept) ? kept : 'overview';
            if (kept !== null) state.data.page = 'data';
            document.addEventListener('rankopt:rater', () => this.gallery.redraw());
        }

        /** Who is at this page. */
        get rater() {
            return ns.rater.name;
        }

        // -- open and closed
        open() {
            sessionStorage.setItem(OPEN, this.view);
            this.state.update({page: 'data'});
        }

        close() {
            sessionStorage.removeItem(OPEN);
            this.state.update({page: null});
        }

        begin(signal) {
            this.show(this.view);
            this.read(signal).then(() => this.moving.load(signal)).catch(() => {});
            this.jobs.watch(signal);
        }

        async read(signal) {
            const found = await this.patiently(signal, () => this.api.get(['data', 'overview'], undefined, signal));
            if (!found) return;
            this.overview.draw(found);
            this.gallery.offer(found);
            this.twins.offer(found);
        }

        refresh() {
            if (this.control) this.read(this.control.signal);
        }

        jobEnded(job) {
            if (job.state === 'failed') ns.toast(`${job.title}: ${job.error}`, 'error');
            this.refresh();
            if (this.view === 'images') this.gallery.reload();
            if (this.view === 'twins') this.twins.load();
        }

        // -- views
        show(view) {
            const changed = this.view !== view;
            this.view = view;
            sessionStorage.setItem(OPEN, view);
            for (const [name, tab] of this.tabs) set(tab, 'aria-pressed', String(name === view));
            set(this.overview.element, 'hidden', view !== 'overview');
            set(this.gallery.element, 'hidden', view !== 'images');
            set(this.twins.element, 'hidden', view !== 'twins');
            if (view === 'images' && !this.gallery.cells.size) this.gallery.reload();
            if (view === 'twins') this.twins.load();
            if (view === 'overview' && changed) this.refresh();
        }

        /** The gallery under some conditions and no other. */
        showImages(filter) {
            const {gallery} = this;
            gallery.filter = {collection: '', text: '', label: 'any', rater: '', source: '', model: '', state: '', ...filter};
            for (const [name, control] of Object.entries(gallery.controls)) control.value = gallery.filter[name];
            gallery.cells.clear();
            this.show('images');
        }

        /** Rank the images of a collection a few at a time. */
        rank(collection) {
            this.close();
            ns.board.folders.open(collection);
        }

        /** The form of a training run with these data chosen. */
        train(ids, objective) {
            ns.board.training.form.use(ids, objective);
            ns.board.training.shown = '';
            sessionStorage.removeItem(OPEN);
            ns.board.training.open();
        }

        // -- keys
        /** Keys of this page; returns whether it meant something here. */
        key(event) {
            if (this.view === 'images' && this.gallery.key(event)) return true;
            if (event.key === 'Escape' && !event.ctrlKey && !event.altKey && !event.metaKey) {
                this.home();
                return true;
            }
            return false;
        }
    }

    ns.DataPage = DataPage;
}());
