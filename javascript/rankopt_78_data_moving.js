// The Data page: data sets in and out, on servers that let pages name files.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataMoving) return;

    const {h, text, button} = ns.base;

    class DataMoving {
        /** @param {ns.DataPage} page */
        constructor(page) {
            this.page = page;
            this.api = page.api;
            this.formats = [];
            this.element = h('span', {class: 'ro-data-commands'});
        }

        /** Read which formats there are; without paths there is nothing to press. */
        async load(signal) {
            const found = await this.api.get(['data', 'formats'], undefined, signal);
            this.formats = found.formats;
            const buttons = [button('Import', null, () => this.askImport(), {command: 'data_import'}), button('Export', null, () => this.askExport(), {command: 'data_export'})];
            this.element.replaceChildren(...(found.paths ? buttons : []));
        }

        field(label, control, help) {
            return h('label', {class: 'ro-setting'}, h('span', {class: 'ro-setting-name'}, label), control, help || null);
        }

        path(placeholder) {
            return h('input', {class: 'ro-input', type: 'text', spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', placeholder});
        }

        askImport() {
            const path = this.path('/home/me/pictures');
            const name = h('input', {class: 'ro-input', type: 'text', maxlength: '200'});
            const format = h('select', {class: 'ro-select'}, h('option', {value: 'auto'}, 'told from the file or folder'), this.formats.filter((one) => one.reads).map((one) => h('option', {value: one.name}, one.title)));
            ns.dialog('Import a data set', [
                h('p', {class: 'ro-dim'}, 'Images stay where they are, unless the data set holds them itself. The same import again goes on where it was stopped and adds nothing twice.'),
                this.field('File or folder of the server’s machine', path), this.field('Format', format), this.field('Name of the collection', name, h('small', {class: 'ro-dim'}, 'Empty: that of the file or folder.')),
            ], [
                {label: 'Cancel'},
                {label: 'Import', key: 'Enter', class: 'ro-primary', run: () => this.start('imports', {path: path.value, format: format.value, name: name.value})},
            ]);
            path.focus();
        }

        askExport() {
            const {overview} = this.page;
            const {chosen, left, sources} = overview;
            if (!chosen.length) {
                ns.toast('Tick in the overview what is to be exported.');
                return;
            }
            const path = this.path('/home/me/taste.zip');
            const loses = h('small', {class: 'ro-dim', 'aria-live': 'polite'});
            const writers = this.formats.filter((one) => one.writes);
            const draw = () => {
                const one = writers.find((other) => other.name === format.value);
                text(loses, one && one.loses.length ? `It cannot hold: ${one.loses.join('; ')}.` : 'It holds everything.');
            };
            const format = h('select', {class: 'ro-select', onchange: draw}, writers.map((one) => h('option', {value: one.name, selected: one.name === 'archive'}, one.title)));
            draw();
            const what = left.size ? `${chosen.length} of ${sources.length} studies and collections, as ticked in the overview.` : 'All studies and collections. Tick fewer in the overview to export only these.';
            ns.dialog('Export', [
                h('p', {class: 'ro-dim'}, what), this.field('Format', format, loses), this.field('File or folder to write, on the server’s machine', path, h('small', {class: 'ro-dim'}, 'Nothing is written over.')),
            ], [
                {label: 'Cancel'},
                {label: 'Export', key: 'Enter', class: 'ro-primary', run: () => this.start('exports', {path: path.value, format: format.value, sources: left.size ? chosen : []})},
            ]);
            path.focus();
        }

        async start(where, body) {
            try {
                this.page.jobs.add(await this.api.post(['data', where], body));
                this.page.refresh();
            } catch (error) {
                ns.report(error);
            }
        }
    }

    /** What a job had trouble with: sentences, at most a hundred. */
    function troubles(outcome) {
        if (!outcome || typeof outcome !== 'object') return [];
        const look = outcome.look || {};
        const left = Object.entries(outcome.left_out || {}).map(([reason, count]) => `${count.toLocaleString()} × ${reason}`);
        return [...(outcome.first_problems || []), ...(Array.isArray(outcome.problems) ? outcome.problems : []), ...(look.problems || []), ...left];
    }

    /** A dialog with all of them. */
    ns.openTroubles = function (job) {
        const overlay = ns.dialog(job.title, h('ul', {class: 'ro-trouble-list', tabindex: '0'}, troubles(job.outcome).map((one) => h('li', {}, one))), [{label: 'Close', key: 'Escape', class: 'ro-primary'}]);
        overlay.element.classList.add('ro-wide');
    };

    ns.DataMoving = DataMoving;
    ns.jobTroubles = troubles;
}());
