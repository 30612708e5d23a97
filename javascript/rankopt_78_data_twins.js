// The Data page: images that are there more than once.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataTwins) return;

    const {h, set, text, button, plural} = ns.base;
    const GROUPS = 40;

    class DataTwins {
        constructor(page) {
            this.page = page;
            this.api = page.api;
            this.groups = [];
            const again = () => this.load();
            const group = `rankopt_twins_${ns.base.token().slice(0, 6)}`;
            const kind = (value, label, on) => h('label', {class: 'ro-choice'}, h('input', {type: 'radio', name: group, value, checked: on, onchange: again}), label);
            this.kinds = h('div', {class: 'ro-choice-row', role: 'radiogroup', 'aria-label': 'Kind of duplicates'}, kind('same', 'The same file or pixels', true), kind('near', 'Look the same', false));
            this.collection = h('select', {class: 'ro-select', 'aria-label': 'Collection', onchange: again});
            this.distance = h('input', {class: 'ro-steps', type: 'range', min: '0', max: '8', value: '4', 'aria-label': 'Bits of the perceptual hash that may differ', onchange: again, oninput: () => this.drawDistance()});
            this.bits = h('span', {class: 'ro-dim'});
            this.near = h('label', {class: 'ro-choice', hidden: true}, 'Strict', this.distance, 'loose', this.bits);
            this.status = h('p', {class: 'ro-dim', role: 'status'});
            this.all = button('Hide all the others', null, () => this.askAll(), {icon: 'bin', command: 'data_hide_all'});
            this.list = h('ul', {class: 'ro-twins'});
            this.element = h('div', {class: 'ro-data-twins', hidden: true}, h('div', {class: 'ro-filters'}, this.kinds, this.collection, this.near, this.all), this.status,
                h('p', {class: 'ro-dim'}, 'Kept is, unless you choose another, the one about which most was said. What was said of hidden images is hidden with them; files stay, and “removed” in the gallery brings them back.'), this.list);
            this.drawDistance();
        }

        get kind() {
            return this.kinds.querySelector('input:checked').value;
        }

        drawDistance() {
            text(this.bits, `${this.distance.value} of 64 bits`);
        }

        offer(overview) {
            const {value} = this.collection;
            this.collection.replaceChildren(h('option', {value: ''}, 'All collections'), ...overview.sources.filter((one) => one.collection !== null).map((one) => h('option', {value: one.collection}, one.name)));
            this.collection.value = value;
        }

        async load() {
            if (this.reading) this.reading.abort();
            const control = this.reading = new AbortController();
            set(this.near, 'hidden', this.kind !== 'near');
            set(this.all, 'hidden', true);
            this.list.replaceChildren();
            text(this.status, 'Comparing…');
            const query = {kind: this.kind, limit: GROUPS, ...(this.collection.value ? {collection: this.collection.value} : {}), ...(this.kind === 'near' ? {distance: this.distance.value} : {})};
            try {
                const found = await this.api.get(['data', 'duplicates'], query, control.signal);
                if (!control.signal.aborted) this.draw(found);
            } catch (error) {
                if (!control.signal.aborted) text(this.status, error.message);
            }
        }

        draw(found) {
            this.groups = found.groups.map((group) => ({images: group.images, keep: group.keep}));
            const all = found.more ? `more than ${found.total.toLocaleString()}` : found.total.toLocaleString();
            const shown = found.total > this.groups.length ? `; the first ${this.groups.length} are shown` : '';
            const unseen = found.unseen ? ` ${plural(found.unseen, 'image')} nobody has looked at yet: press the magnifier of a collection in the overview.` : '';
            text(this.status, `${found.total ? `${all} ${found.total === 1 ? 'group' : 'groups'}${shown}.` : 'No duplicates.'}${unseen}`);
            set(this.all, 'hidden', this.groups.length < 2);
            this.list.replaceChildren(...this.groups.map((group, place) => this.row(group, place)));
        }

        row(group, place) {
            const name = `rankopt_keep_${place}_${ns.base.token().slice(0, 6)}`;
            const option = (image, at) => h('label', {class: 'ro-twin'},
                h('img', {src: this.page.api.thumb(image.number, 256), alt: `Image ${at + 1} of group ${place + 1}`, loading: 'lazy'}),
                h('span', {class: 'ro-twin-words'}, h('span', {class: 'ro-keep'}, h('input', {type: 'radio', name, checked: image.number === group.keep, onchange: () => {
                    group.keep = image.number;
                }}), 'keep'), h('span', {class: 'ro-dim', title: image.key}, image.key), h('span', {class: 'ro-dim'}, [image.width ? `${image.width} × ${image.height}` : '', ns.dataWords.labelWords(image), ns.dataWords.record(image)].filter(Boolean).join(' · '))));
            const row = h('li', {class: 'ro-twin-group'}, h('div', {class: 'ro-twin-row'}, group.images.map(option)),
                button(`Hide the other${group.images.length > 2 ? 's' : ''}`, null, () => this.hide([group], [row]), {class: 'ro-quiet', icon: 'bin', command: 'data_hide'}));
            return row;
        }

        askAll() {
            const number = this.groups.reduce((sum, group) => sum + group.images.length - 1, 0);
            ns.dialog('Hide the others?', h('p', {}, `${plural(number, 'image')} of ${this.groups.length} groups will be hidden; one of each group stays.`), [
                {label: 'Keep them', key: 'Escape', class: 'ro-primary'},
                {label: 'Hide', class: 'ro-danger', run: () => this.hide(this.groups, [...this.list.children])},
            ]);
        }

        async hide(groups, rows) {
            const images = groups.flatMap((group) => group.images.map((image) => image.number).filter((number) => number !== group.keep));
            try {
                for (let start = 0; start < images.length; start += 500) await this.api.post(['data', 'images', 'remove'], {images: images.slice(start, start + 500)});
                for (const row of rows) row.remove();
                this.groups = this.groups.filter((group) => !groups.includes(group));
                ns.toast(`${plural(images.length, 'image')} hidden.`);
                this.page.refresh();
                if (!this.groups.length) this.load();
            } catch (error) {
                ns.report(error);
                this.load();
            }
        }
    }

    ns.DataTwins = DataTwins;
}());
